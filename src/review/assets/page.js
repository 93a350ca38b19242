// What do keys, the eye and live changes do on a page?
//
// The page works from the server's markup; this adds the keyboard, keeps what was chosen when a
// part is swapped, and opens approval once all of a long value has been on screen.
'use strict';

(() => {
  const one = (selector) => document.querySelector(selector);
  const all = (selector) => [...document.querySelectorAll(selector)];

  // ---- Live changes ----

  const live = (on, lost = false) => one('#live')?.setAttribute('data-live', on ? 'on' : lost ? 'lost' : 'off');
  document.addEventListener('htmx:sseOpen', () => live(true));
  document.addEventListener('htmx:sseError', () => live(false, true));
  document.addEventListener('htmx:sseClose', () => live(false));
  // The same call keeps its element, and with it what was opened and read of it. htmx's own
  // `hx-preserve` loses the element where a part is swapped out of band as well.
  let kept = [];
  document.addEventListener('htmx:beforeSwap', () => { kept = all('[data-keep]'); });
  const keepRead = () => {
    for (const old of kept) {
      const fresh = document.getElementById(old.id);
      if (fresh && fresh !== old) fresh.replaceWith(old);
    }
    kept = [];
  };
  document.addEventListener('htmx:afterSwap', () => { keepRead(); keepChoice(); keepTicks(); watch(); unlock(); tell(); });
  // A refusal takes the place of nothing, unless it says of what.
  document.addEventListener('htmx:beforeSwap', ({ detail }) => {
    const { xhr, requestConfig } = detail;
    if (xhr.status < 400 || xhr.getResponseHeader('HX-Retarget') || requestConfig.elt.id === 'together') return;
    detail.shouldSwap = false;
    one('#said').textContent = `This was not possible (${xhr.status}). Load the page again.`;
  });
  // The session is over: the page to sign in takes the place of this one.
  document.addEventListener('htmx:responseError', (event) => {
    if (event.detail.xhr.status === 401) location.reload();
  });

  // ---- Times ----

  const roughly = (seconds) => {
    if (seconds < 60) return `${Math.floor(seconds)} s`;
    if (seconds < 5400) return `${Math.floor(seconds / 60)} min`;
    if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
    return `${Math.floor(seconds / 86400)} days`;
  };
  const tell = () => {
    for (const time of all('time[data-since], time[data-until]')) {
      const past = (Date.now() - Date.parse(time.dateTime)) / 1000;
      time.textContent = roughly(Math.max(0, 'since' in time.dataset ? past : -past));
    }
  };
  setInterval(tell, 5000);

  // ---- The queue: the chosen row, and the ticked ones ----

  let chosen = null;
  const rows = () => all('#list [data-hold]');
  const keepChoice = () => {
    const had = document.activeElement === document.body;
    for (const row of rows()) {
      if (row.dataset.hold !== chosen) row.removeAttribute('aria-current');
      else {
        row.setAttribute('aria-current', 'true');
        if (had) row.querySelector('a').focus({ preventScroll: true });
      }
    }
  };
  const choose = (step) => {
    const there = rows();
    if (!there.length) return;
    const at = there.findIndex((row) => row.dataset.hold === chosen);
    const to = at < 0 ? 0 : Math.min(Math.max(at + step, 0), there.length - 1);
    chosen = there[to].dataset.hold;
    keepChoice();
    there[to].querySelector('a').focus({ preventScroll: true });
    there[to].scrollIntoView({ block: 'nearest' });
  };
  const visit = (hash = '') => {
    const row = one('#list [aria-current=true]');
    if (row) location.assign(row.querySelector('a').href + hash);
  };

  const ticked = new Set();
  const keepTicks = () => {
    const bar = one('#together');
    if (!bar) return;
    const there = rows();
    const known = new Set(there.map((row) => row.dataset.hold));
    for (const id of ticked) if (!known.has(id)) ticked.delete(id);
    const chosenRows = there.filter((row) => ticked.has(row.dataset.hold));
    for (const row of there) {
      const box = row.querySelector('input[type=checkbox]');
      if (box) box.checked = ticked.has(row.dataset.hold);
    }
    const alike = new Set(chosenRows.map((row) => row.dataset.tool)).size === 1;
    const grave = chosenRows.some((row) => row.dataset.tier === 'high');
    const button = bar.querySelector('button');
    bar.hidden = chosenRows.length === 0;
    button.disabled = !alike || grave;
    button.textContent = `Approve selected (${chosenRows.length})`;
    bar.querySelector('[name=justification]').required =
      chosenRows.some((row) => 'justification' in row.dataset);
  };
  document.addEventListener('change', ({ target }) => {
    if (target.name !== 'hold') return;
    const { hold } = target.closest('[data-hold]').dataset;
    if (target.checked) ticked.add(hold); else ticked.delete(hold);
    keepTicks();
  });

  // ---- One hold: what has been on screen ----

  const bottom = 64; // the bar of buttons covers so much
  const eye = new IntersectionObserver((entries) => {
    for (const { target, intersectionRatio, boundingClientRect: box, rootBounds } of entries) {
      if (!box.height || !rootBounds) continue;
      // What is taller than the screen is seen once both its ends were.
      if (box.top >= rootBounds.top - 1 && box.top < rootBounds.bottom) target.sawTop = true;
      if (box.bottom <= rootBounds.bottom + 1 && box.bottom > rootBounds.top) target.sawEnd = true;
      const tall = box.height > rootBounds.height;
      if (tall ? target.sawTop && target.sawEnd : intersectionRatio >= 0.95) {
        target.dataset.part = 'seen';
        eye.unobserve(target);
      }
    }
    unlock();
  }, { rootMargin: `0px 0px -${bottom}px 0px`, threshold: [0, 0.1, 0.25, 0.5, 0.75, 0.95, 1] });
  const watch = () => { for (const part of all('[data-part=unseen]')) eye.observe(part); };
  const unlock = () => {
    const button = one('#approve[data-locks]');
    if (!button) return;
    const left = all('[data-part=unseen]').length;
    if (left) button.setAttribute('aria-disabled', 'true'); else button.removeAttribute('aria-disabled');
    const parts = left === 1 ? 'one part is' : `${left} parts are`;
    const text = left
      ? `Approve opens once all of the arguments have been on screen: ${parts} left.`
      : 'All of the arguments have been on screen.';
    const note = one('#unread');
    if (note.textContent !== text) note.textContent = text;
  };

  // ---- Dialogs ----

  const open = (button) => {
    if (!button) return;
    if (button.getAttribute('aria-disabled') === 'true') {
      one('#said').textContent = one('#unread').textContent;
      one('[data-part=unseen]')?.closest('details, [data-part]')?.scrollIntoView({ block: 'center' });
      return;
    }
    const dialog = document.getElementById(button.dataset.open);
    const now = one('#main')?.dataset.hash;
    // Somebody has changed the call since: what is signed is what is seen.
    if (now && dialog.dataset.seen && dialog.dataset.seen !== now) { location.reload(); return; }
    for (const alert of dialog.querySelectorAll('[role=alert]')) alert.replaceChildren();
    dialog.showModal();
  };
  document.addEventListener('click', ({ target }) => {
    const opens = target.closest?.('[data-open]');
    if (opens) open(opens);
    target.closest?.('[data-close]')?.closest('dialog').close();
  });
  document.addEventListener('htmx:afterRequest', ({ detail }) => {
    const form = detail.requestConfig?.elt;
    if (!form || !(detail.xhr.status >= 200 && detail.xhr.status < 400)) return;
    form.closest?.('dialog')?.close();
    if (form.id === 'together') { ticked.clear(); form.reset(); keepTicks(); }
  });
  document.addEventListener('submit', ({ target }) => { if (target.id === 'filters') target.querySelector('#q').blur(); });

  // ---- Keys ----

  // What was focused in a dialog stays so until the next frame, after the dialog has closed.
  const types = (element) => element.checkVisibility() && (
    element.isContentEditable || element.matches('textarea, select, input:not([type=checkbox], [type=radio], [type=button], [type=submit])'));
  const decide = (name) => () => (one('#main') ? open(one(`#${name}`)) : visit(`#${name}`));
  const keys = {
    j: () => choose(1),
    k: () => choose(-1),
    o: () => visit(),
    a: decide('approve'),
    d: decide('deny'),
    e: decide('edit'),
    r: decide('answer'),
    q: () => location.assign('/'),
    '/': () => one('#q')?.focus(),
    '?': () => one('#help')?.showModal(),
  };
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return;
    const on = event.target instanceof Element ? event.target : document.body;
    if (event.key === 'Escape' && on.id === 'q') { on.blur(); return; }
    if (types(on) || one('dialog[open]')) return;
    if (event.key === 'Enter' && on === document.body) { visit(); return; }
    const does = Object.hasOwn(keys, event.key) ? keys[event.key] : null;
    if (!does) return;
    event.preventDefault();
    does();
  });

  // ---- At first ----

  const begin = () => {
    watch();
    unlock();
    tell();
    one('form[data-submits]')?.requestSubmit();
    const asked = location.hash.slice(1);
    if (['approve', 'deny', 'edit', 'answer'].includes(asked) && one('#main')) {
      history.replaceState(null, '', location.pathname);
      open(one(`#${asked}`));
    }
  };
  begin();
})();
