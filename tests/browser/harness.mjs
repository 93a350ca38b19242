// What would a person at the review page see, and what must never happen there?
//
// `visit` opens a page in real Chromium and fails the test on any dialog, error
// on the console (a breach of the CSP is one), uncaught error, popup, or
// request to another origin. Nothing that is tested is loosened for it: axe
// comes in through the debugger, past the CSP that stays in force.
//
// The page is found by role and name first, and by these hooks where a role
// cannot say it:
//
//   [data-live=on]           the event stream stands (each page but /sign-in)
//   [data-hold=ID]           a row of the queue, and <main> of one hold; with
//     [data-state=STATE]       its state, in rows also
//     [data-missing=N]         the signatures that are missing
//     [aria-current=true]      the row that j and k chose
//   [data-arguments]         around the tree of arguments
//   [data-leaf=POINTER]      one value of it, by JSON Pointer
//   [data-part]              a piece of a long value: `unseen`, then `seen`
//   [data-hidden=HEX]        stands for an invisible or control character
//   [data-untrusted]         around what the agent says of its call
//   [data-diff]              before and after, where a tool has a preview
//   input[name=csrf]         in each form that changes something
//
// Roles: searchbox (the filter), status, alert, dialog (help, approve, deny,
// edit), and buttons named approve, deny, edit and answer.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { after, test } from 'node:test';

const home = process.env.COUNTERSIGN_CLIENTS ?? path.resolve(import.meta.dirname, '../../target/clients');
const require = createRequire(path.join(home, 'package.json'));
const { chromium } = require('playwright-core');
const axeSource = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
  // What a page asks of elsewhere is seen and fails the test; it need not get out as well.
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost',
];
const PATIENCE_MS = Number(process.env.BROWSER_PATIENCE_MS ?? 20_000);

export const DESKTOP = { width: 1280, height: 800 };
export const PHONE = { width: 375, height: 700 };
/** Each way that the page must look right in. */
export const LOOKS = [
  { look: 'desktop light', viewport: DESKTOP, colorScheme: 'light' },
  { look: 'desktop dark', viewport: DESKTOP, colorScheme: 'dark' },
  { look: 'phone light', viewport: PHONE, colorScheme: 'light' },
  { look: 'phone dark', viewport: PHONE, colorScheme: 'dark' },
];

let browser;

/** One Chromium for each file of tests, with a profile of its own that is thrown away. */
async function chromiumRuns() {
  browser ??= await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    args: FLAGS,
  });
  return browser;
}

after(async () => browser?.close());

/**
 * Opens a fresh context, gives its page to `body`, and says what happened there that must not.
 *
 * `expected` are patterns of faults that the test is about. What `body` gives comes back.
 */
export async function visit({ origin, expected = [], ...options }, body) {
  const context = await (await chromiumRuns()).newContext({ viewport: DESKTOP, ...options });
  context.setDefaultTimeout(PATIENCE_MS);
  const faults = [];
  watch(context, new URL(origin).origin, faults);
  let failure, given;
  try {
    const page = await context.newPage();
    given = await body(page, context);
    // What the last step set going shows up a moment later; both ends of a round trip do it.
    if (!page.isClosed()) await page.evaluate(() => new Promise((done) => setTimeout(done, 50)));
  } catch (error) {
    failure = error;
  }
  await context.close();
  const unexpected = faults.filter((fault) => !expected.some((pattern) => pattern.test(fault)));
  if (failure && unexpected.length) failure.message += `\nand on the page: ${unexpected.join('\n  ')}`;
  if (failure) throw failure;
  assert.deepEqual(unexpected, [], 'on the page happened what must not');
  return given;
}

function watch(context, origin, faults) {
  let pages = 0;
  context.on('page', (page) => {
    pages += 1;
    if (pages > 1) faults.push(`popup: ${page.url()}`);
    page.on('crash', () => faults.push('crash'));
    page.on('websocket', (socket) => faults.push(`request to another origin: ${socket.url()}`));
  });
  context.on('dialog', async (dialog) => {
    faults.push(`dialog: ${dialog.type()} ${dialog.message()}`);
    // The page may be gone by then.
    await dialog.dismiss().catch(() => {});
  });
  context.on('console', (message) => {
    if (message.type() === 'error') faults.push(`console: ${message.text()} (${message.location().url})`);
  });
  context.on('weberror', (error) => faults.push(`uncaught: ${error.error()}`));
  context.on('request', (request) => {
    const url = new URL(request.url());
    if (url.protocol !== 'data:' && url.origin !== origin) faults.push(`request to another origin: ${url}`);
  });
}

/** Runs axe-core on the page as it is, and fails on a serious or critical violation. */
export async function axe(page, what = page.url()) {
  const debug = await page.context().newCDPSession(page);
  const { frameTree } = await debug.send('Page.getFrameTree');
  // A world of its own: the page's scripts do not see axe, nor axe theirs.
  const world = { frameId: frameTree.frame.id, worldName: 'axe' };
  const { executionContextId: contextId } = await debug.send('Page.createIsolatedWorld', world);
  const run = async (expression) => {
    const given = { expression, contextId, awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails } = await debug.send('Runtime.evaluate', given);
    assert.equal(exceptionDetails, undefined, JSON.stringify(exceptionDetails));
    return result.value;
  };
  await run(`${axeSource}; null`);
  const { violations, passes } = await run(`axe.run(document, {resultTypes: ['violations']})
    .then(({violations, passes}) => ({violations, passes: passes.length}))`);
  await debug.detach();
  assert.ok(passes > 0, `axe found nothing to look at: ${what}`);
  const serious = violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, impact, help, nodes }) => `${impact} ${id}: ${help}\n    ${nodes.map((n) => n.html).join('\n    ')}`);
  assert.deepEqual(serious, [], `axe on ${what}`);
}

/** Nothing sticks out at the side: one scrolls in one direction only. */
export async function fitsTheWidth(page, what = page.url()) {
  const [content, window] = await page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    return [scrollWidth, clientWidth];
  });
  assert.ok(content <= window, `${what} is ${content} px wide in a window of ${window} px`);
}

/** A picture for people to look at, if $BROWSER_PICTURES names a directory. */
export async function picture(page, name) {
  const directory = process.env.BROWSER_PICTURES;
  if (!directory) return;
  mkdirSync(directory, { recursive: true });
  // In a picture of the whole page a dialog covers the first screen only, and looks wrong.
  const fullPage = (await page.getByRole('dialog').filter({ visible: true }).count()) === 0;
  await page.screenshot({ path: path.join(directory, `${name.replaceAll(/[^\w-]+/g, '-')}.png`), fullPage });
}

/** Asks until it is so. The reason it was not so is the failure. */
export async function eventually(check) {
  const until = Date.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > until) throw error;
      await new Promise((done) => setTimeout(done, 50));
    }
  }
}

export { assert, test };
