// What does a reviewer do, step by step?
//
// The gate, its upstream and the agent come from the environment (`run.sh`
// sets it): OPERATOR_URL, SIGN_IN_LINK, AGENT_URL, AGENT_TOKEN, UPSTREAM_URL,
// and BROWSER_SESSION, the file that keeps the session of the one-time link
// from one file of tests to the next. Where reviewers have names, REVIEWER is
// one of those in REVIEWER_TOKENS, and signs in by token.

import { existsSync, readFileSync } from 'node:fs';
import { after } from 'node:test';

import { agent } from './agent.mjs';
import { assert, eventually, visit } from './harness.mjs';

const given = (name) => process.env[name] || assert.fail(`no ${name}; start this with tests/browser/run.sh`);
export const OPERATOR = new URL(given('OPERATOR_URL')).origin;
const SESSION = given('BROWSER_SESSION');
const callers = [];
// A test that fails leaves its agent waiting, and node waits with it.
after(() => callers.forEach((caller) => caller.hangUp()));

/** Signs in, once: by the one-time link, or by the token of whoever is named. */
async function session(who = process.env.REVIEWER) {
  const file = who ? `${SESSION}-${who}` : SESSION;
  if (!existsSync(file)) {
    await visit({ origin: OPERATOR }, async (page, context) => {
      await (who ? byToken(page, who) : page.goto(given('SIGN_IN_LINK')));
      await page.waitForURL(`${OPERATOR}/`);
      await context.storageState({ path: file });
    });
  }
  return JSON.parse(readFileSync(file, 'utf8'));
}

async function byToken(page, who) {
  await page.goto(`${OPERATOR}/sign-in`);
  await page.getByLabel(/token/i).fill(JSON.parse(given('REVIEWER_TOKENS'))[who]);
  await page.getByRole('button', { name: /^sign in$/i }).click();
}

/** A visit by a reviewer who is signed in, at the path of `at`. */
export async function reviewing({ at = '/', as, ...options }, body) {
  const storageState = await session(as);
  return visit({ origin: OPERATOR, storageState, ...options }, async (page, context) => {
    await page.goto(OPERATOR + at);
    await page.locator('[data-live=on]').waitFor({ state: 'attached' });
    return body(page, context);
  });
}

/** A request with the reviewer's session and nothing else of a browser. */
export async function request(path, { signedIn = true, headers = {}, ...options } = {}) {
  const { cookies } = await session();
  const cookie = cookies.map(({ name, value }) => `${name}=${value}`).join('; ');
  const sent = { ...(signedIn && { cookie }), ...headers };
  return fetch(new URL(path, OPERATOR), { redirect: 'manual', ...options, headers: sent });
}

const queued = async () =>
  [...(await (await request('/')).text()).matchAll(/data-hold="([^"]+)"/g)].map(([, id]) => id);

/**
 * An agent calls, and the call is held: its id, the promise of its answer, and a way to hang up.
 * It is the one that was not in the queue before.
 */
export async function held(tool, args, claim) {
  const before = new Set(await queued());
  const caller = await agent({ url: given('AGENT_URL'), token: process.env.AGENT_TOKEN });
  callers.push(caller);
  const answer = caller.call(tool, args, claim);
  let early;
  answer.then((message) => { early = message; }, (error) => { early = error; });
  const id = await eventually(async () => {
    const fresh = (await queued()).filter((each) => !before.has(each));
    assert.equal(fresh.length, 1, `one new hold is in the queue; the agent has: ${JSON.stringify(early)?.slice(0, 500)}`);
    return fresh[0];
  });
  return { id, at: `/holds/${id}`, answer, hangUp: caller.hangUp };
}

/** The state of a hold as its page says it when asked anew. */
export async function state(id) {
  const text = await (await request(`/holds/${id}`)).text();
  return text.match(/<main\b[^>]*\bdata-state="(\w+)"/)?.[1];
}

/** The calls of a tool that reached the upstream, by a mark in the arguments. */
export async function reached(mark) {
  const calls = await (await fetch(`${given('UPSTREAM_URL')}/calls`)).json();
  return calls.filter((call) => JSON.stringify(call).includes(mark));
}

/** Something that no other test has in its arguments. */
export const mark = () => `mark-${crypto.randomUUID()}`;

/** The one dialog or form of that name. */
export const dialog = (page, name) =>
  page.getByRole('dialog', { name }).or(page.getByRole('form', { name })).filter({ visible: true });

/** A button of the page itself, not of a dialog. */
export const action = (page, name) =>
  page.getByRole('button', { name }).and(page.locator('button:not(dialog *)')).first();

/** Whether a button does nothing now. */
export const locked = async (button) =>
  (await button.isDisabled()) || (await button.getAttribute('aria-disabled')) === 'true';

/** Says yes by keyboard, with a justification where one is asked. */
export async function approve(page, why = 'the customer is owed it') {
  await page.keyboard.press('a');
  const asked = dialog(page, /approve/i);
  await asked.waitFor();
  const justification = asked.getByRole('textbox', { name: /justification/i });
  if (await justification.count()) await justification.fill(why);
  await asked.getByRole('button', { name: /^approve/i }).click();
}

/** Waits until the open page says that the hold is in one of these states. */
export async function becomes(page, ...states) {
  await page.locator(states.map((each) => `main[data-state=${each}]`).join(', ')).waitFor();
}

/** A row of the queue. */
export const row = (page, id) => page.locator(`[data-hold="${id}"]`);
