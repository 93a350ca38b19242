// Would the harness notice?
//
// Pages of our own, under the CSP that the review page has, each with one
// fault; and one without.

import { createServer } from 'node:http';
import { after, before } from 'node:test';

import { LOOKS, PHONE, assert, axe, fitsTheWidth, picture, test, visit } from './harness.mjs';

const CSP = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
  + "form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const page = (body, script = '') => `<!doctype html><html lang="en"><head><title>Holds</title>
  <link rel="icon" href="/icon.svg"><link rel="stylesheet" href="/page.css">${script && `<script src="/${script}.js"></script>`}</head>
  <body><main><h1>Holds</h1>${body}</main></body></html>`;
const SCRIPTS = {
  alert: 'alert(1)',
  confirm: 'confirm("sure?")',
  error: 'console.error("no")',
  throw: 'throw new Error("no")',
  popup: 'addEventListener("load", () => open("/clean"))',
  // Seen from outside: the axe that the harness brings in stays in its own world.
  watchful: 'setInterval(() => { if (window.axe) console.error("axe in the page") }, 1)',
  evil: 'eval("1")',
};
const PAGES = {
  clean: page('<p data-hold="1">One hold. <button>Approve</button></p>', 'watchful'),
  alert: page('', 'alert'),
  confirm: page('', 'confirm'),
  error: page('', 'error'),
  throw: page('', 'throw'),
  popup: page('', 'popup'),
  evil: page('', 'evil'),
  inline: page('<script>window.owned = 1</script>'),
  handler: page('<img src="/missing-from-here" alt="" onerror="alert(1)">'),
  style: page('<p style="color: red">red</p>'),
  foreign: page('<img src="http://127.0.0.1:9/pixel" alt="">'),
  name: page('<img src="https://evil.invalid/pixel" alt="">'),
  missing: page('<img src="/absent.png" alt="">'),
  unnamed: page('<button></button>'),
  faint: page('<p class="faint">Can you read this?</p>'),
  wide: page('<p class="wide">A value that does not wrap</p>'),
};
const STYLE = '.faint { color: #ccc; background: #fff } .wide { width: 600px }';
let server, origin;

before(async () => {
  server = createServer(({ url }, answer) => {
    const { pathname, searchParams } = new URL(url, 'http://here');
    const [name, kind] = pathname.slice(1).split('.');
    const send = (type, text) => {
      answer.setHeader('content-type', type);
      if (!searchParams.has('lax')) answer.setHeader('content-security-policy', CSP);
      answer.end(text);
    };
    if (kind === 'js') return send('text/javascript', SCRIPTS[name]);
    if (kind === 'css') return send('text/css', STYLE);
    if (kind === 'svg') return send('image/svg+xml', '<svg xmlns="http://www.w3.org/2000/svg"/>');
    if (PAGES[name]) return send('text/html; charset=utf-8', PAGES[name]);
    answer.writeHead(404).end();
  }).listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  origin = `http://127.0.0.1:${server.address().port}`;
});
after(() => server.close());

const see = (path, body = () => {}, options = {}) =>
  visit({ origin, ...options }, async (page, context) => {
    await page.goto(`${origin}/${path}`);
    return body(page, context);
  });

test('a page without fault passes, under each look', async () => {
  for (const { look, ...options } of LOOKS) {
    await see('clean', async (page) => {
      await axe(page);
      await fitsTheWidth(page);
      await picture(page, `harness ${look}`);
    }, options);
  }
});

for (const [what, path, fault] of [
  ['an alert', 'alert', /dialog: alert 1/],
  ['a question', 'confirm', /dialog: confirm sure\?/],
  ['an error on the console', 'error', /console: no/],
  ['an uncaught error', 'throw', /uncaught: Error: no/],
  ['a popup', 'popup', /popup/],
  ['eval', 'evil', /uncaught: EvalError/],
  ['an inline script', 'inline', /console: .*Content Security Policy/],
  ['an inline handler', 'handler', /console: .*Content Security Policy/],
  ['an inline style', 'style', /console: .*Content Security Policy/],
  ['what the CSP stopped from being asked elsewhere', 'foreign', /console: .*Content Security Policy/],
  ['a request to another port', 'foreign?lax', /request to another origin: http:\/\/127.0.0.1:9\//],
  ['a request to another host', 'name?lax', /request to another origin: https:\/\/evil.invalid\//],
  ['a handler where no CSP stops it', 'handler?lax', /dialog: alert 1/],
  ['something missing', 'missing', /console: .*404/],
]) {
  test(`${what} fails the test`, async () => {
    await assert.rejects(see(path), fault);
  });
}

test('what a test expects does not fail it', async () => {
  await see('missing', () => {}, { expected: [/404/] });
});

test('axe fails on a button without a name and on faint text', async () => {
  await assert.rejects(see('unnamed', (page) => axe(page)), /critical button-name/);
  await assert.rejects(see('faint', (page) => axe(page)), /serious color-contrast/);
});

test('what is wider than a phone fails', async () => {
  await see('wide', (page) => fitsTheWidth(page));
  await assert.rejects(see('wide', (page) => fitsTheWidth(page), { viewport: PHONE }), /wide in a window of 375 px/);
});

test('a failure in the page and a fault on it are told together', async () => {
  const both = see('error', () => assert.fail('the test itself'));
  await assert.rejects(both, (error) => /the test itself/.test(error.message) && /console: no/.test(error.message));
});
