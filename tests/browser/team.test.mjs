// Do two people at once, each with a token of their own, get in each other's way?

import { told } from './agent.mjs';
import { assert, eventually, picture, test, visit } from './harness.mjs';

// This gate has reviewers by name; who is not named by a test is ann.
const given = (name) => process.env[name] || assert.fail(`no ${name}; start this with tests/browser/run.sh`);
Object.assign(process.env, { OPERATOR_URL: given('TEAM_OPERATOR_URL'), AGENT_URL: given('TEAM_AGENT_URL'), REVIEWER: 'ann' });
const { OPERATOR, approve, becomes, dialog, held, mark, reached, reviewing, row, state } = await import('./review.mjs');

/** Opens a page as each of the two. */
const both = (at, body, expected = []) =>
  reviewing({ at, as: 'ann' }, (ann) => reviewing({ at, as: 'bob', expected }, (bob) => body(ann, bob)));

test('a token lets its reviewer in, another does not, and signing out ends it', async () => {
  await visit({ origin: OPERATOR, expected: [/status of 401/] }, async (page, context) => {
    const tries = async (token) => {
      await page.goto(`${OPERATOR}/sign-in`);
      await page.getByLabel(/token/i).fill(token);
      await page.getByRole('button', { name: /^sign in$/i }).click();
    };
    await tries('ann');
    await page.getByRole('alert').filter({ hasText: /not signed in/i }).waitFor();
    await picture(page, 'sign-in refused');
    await tries(JSON.parse(given('REVIEWER_TOKENS')).ann);
    await page.waitForURL(`${OPERATOR}/`);
    assert.match(await page.getByRole('banner').innerText(), /\bann\b/);
    const [{ value }] = await context.cookies();
    await page.getByRole('button', { name: /sign out/i }).click();
    await page.waitForURL('**/sign-in');
    // Not merely forgotten by this browser.
    const kept = await fetch(`${OPERATOR}/`, { redirect: 'manual', headers: { cookie: value } });
    assert.notEqual(kept.status, 200);
    await page.goto(`${OPERATOR}/`);
    assert.equal(new URL(page.url()).pathname, '/sign-in');
  });
});

test('two different people sign, and then it runs once', async () => {
  const text = mark();
  const hold = await held('pair', { text });
  await both(hold.at, async (ann, bob) => {
    await approve(ann);
    for (const page of [ann, bob]) await page.getByText(/signed by ann/i).first().waitFor();
    await becomes(bob, 'pending');
    for (const page of [ann, bob]) {
      assert.equal(await page.locator('[data-arguments] [data-leaf="/text"]').innerText(), text, 'what is signed is still shown');
    }
    assert.equal(await ann.locator('#approve').count(), 0, 'ann has no second signature to give');
    await picture(ann, 'one of two signatures');
    await reviewing({ as: 'bob' }, async (queue) => {
      assert.equal(await row(queue, hold.id).getAttribute('data-missing'), '1');
    });
    assert.deepEqual(await reached(text), []);
    await approve(bob);
    for (const page of [ann, bob]) {
      await becomes(page, 'done');
      assert.equal(await page.locator('[data-arguments] [data-leaf="/text"]').innerText(), text);
    }
  });
  assert.match(told(await hold.answer), /pair did it/);
  assert.deepEqual(await reached(text), [{ name: 'pair', arguments: { text } }]);
});

test('what one has opened and read stays so when another signs', async () => {
  const hold = await held('pair', { text: `${mark()} ${'word '.repeat(200)}` });
  await both(hold.at, async (ann, bob) => {
    const seen = (page) => eventually(async () => assert.equal(await page.locator('[data-part=unseen]').count(), 0));
    for (const page of [ann, bob]) {
      await page.locator('details.long > summary').click();
      await page.locator('[data-part]').last().scrollIntoViewIfNeeded();
      await seen(page);
    }
    await approve(ann);
    await bob.getByText(/signed by ann/i).first().waitFor();
    assert.equal(await bob.locator('details.long').evaluate((details) => details.open), true);
    await seen(bob);
    await approve(bob);
    await becomes(bob, 'done');
  });
  await hold.answer;
});

for (const [what, key, name, button, over, takes] of [
  ['approves', 'a', /approve/i, /^approve/i, 'done', 1],
  ['denies', 'd', /deny/i, /^deny/i, 'denied', 0],
]) {
  test(`who comes second is told that ann ${what}`, async () => {
    const text = mark();
    const hold = await held('write', { text });
    await both(hold.at, async (ann, bob) => {
      // Each is at the point of doing the opposite.
      const [second, verb] = key === 'a' ? ['d', /deny/i] : ['a', /approve/i];
      await bob.keyboard.press(second);
      const bobs = dialog(bob, verb);
      await bobs.waitFor();
      if (second === 'd') await bobs.getByRole('textbox').fill('I had rather not');
      await ann.keyboard.press(key);
      const anns = dialog(ann, name);
      if (key === 'd') await anns.getByRole('radio').first().check();
      await anns.getByRole('button', { name: button }).click();
      for (const page of [ann, bob]) await becomes(page, over);
      assert.equal(await bobs.isVisible(), true, 'what bob types is not taken from him');
      await bobs.getByRole('button', { name: verb }).click();
      await eventually(async () => assert.match(await bobs.getByRole('alert').innerText(), /ann/));
      if (second === 'd') assert.equal(await bobs.getByRole('textbox').inputValue(), 'I had rather not');
      await picture(bob, `second after ann ${what}`);
    }, [/status of 409/]);
    await hold.answer;
    assert.equal(await state(hold.id), over);
    assert.equal((await reached(text)).length, takes);
  });
}
