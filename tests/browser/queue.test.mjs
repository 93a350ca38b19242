// Does the queue show what waits, as it is now, without getting in the way?

import { told } from './agent.mjs';
import { assert, eventually, picture, test } from './harness.mjs';
import { approve, becomes, dialog, held, mark, reached, reviewing, row, state } from './review.mjs';

const chosen = (page) => page.locator('[data-hold][aria-current=true]');
const chosenId = (page) => chosen(page).getAttribute('data-hold');

test('a row says who wants what, how grave it is and who is missing', async () => {
  const hold = await held('refund', { invoice: 1, amount: '500', note: mark() });
  await reviewing({}, async (page) => {
    const text = await row(page, hold.id).innerText();
    for (const expected of [/support-bot/, /refund/i, /high/i]) assert.match(text, expected);
    assert.equal(await row(page, hold.id).getAttribute('data-state'), 'pending');
    assert.equal(await row(page, hold.id).getAttribute('data-missing'), '1');
    await row(page, hold.id).getByRole('link').first().click();
    await page.waitForURL(`**/holds/${hold.id}`);
  });
  hold.hangUp();
});

test('it changes live, without a reload and without what one types being lost', async () => {
  await reviewing({}, async (page) => {
    await page.evaluate(() => { window.sameDocument = true; });
    await page.keyboard.press('/');
    const filter = page.getByRole('searchbox');
    await page.keyboard.type('wrte');
    await page.keyboard.press('ArrowLeft');
    await page.keyboard.press('ArrowLeft');
    const hold = await held('write', { text: mark() });
    // What does not match the filter yet arrives all the same once it does.
    await page.keyboard.type('i');
    await row(page, hold.id).waitFor();
    const again = await held('write', { text: mark() });
    await row(page, again.id).waitFor();
    assert.equal(await filter.inputValue(), 'write', 'the text');
    assert.equal(await filter.evaluate((input) => document.activeElement === input), true, 'the focus');
    assert.equal(await filter.evaluate((input) => input.selectionStart), 3, 'the caret');

    // Decided elsewhere, by the same person in another window.
    await reviewing({ at: again.at }, async (other) => {
      await approve(other);
      await becomes(other, 'approved', 'executing', 'done');
    });
    await eventually(async () => {
      const still = row(page, again.id);
      const pending = (await still.count()) === 1 && (await still.getAttribute('data-state')) === 'pending';
      assert.equal(pending, false, 'a decided hold is not pending in the queue');
    });
    assert.equal(await filter.inputValue(), 'write', 'the text, after a decision');
    assert.equal(await page.evaluate(() => window.sameDocument), true, 'the page was loaded anew');
    hold.hangUp();
  });
});

test('the filter leaves what matches', async () => {
  const [wanted, other] = [await held('refund', { invoice: 2, amount: '9' }), await held('write', { text: mark() })];
  await reviewing({}, async (page) => {
    await page.getByRole('searchbox').fill('refund');
    await row(page, other.id).waitFor({ state: 'hidden' });
    assert.equal(await row(page, wanted.id).isVisible(), true);
    await page.getByRole('searchbox').fill(other.id);
    await row(page, other.id).waitFor();
    await row(page, wanted.id).waitFor({ state: 'hidden' });
  });
  for (const each of [wanted, other]) each.hangUp();
});

test('j and k move, a live change does not, o opens', async () => {
  const holds = [await held('write', { text: mark() }), await held('write', { text: mark() })];
  await reviewing({}, async (page) => {
    await page.keyboard.press('j');
    await eventually(async () => assert.equal(await chosen(page).count(), 1));
    const first = await chosenId(page);
    await page.keyboard.press('j');
    await eventually(async () => assert.notEqual(await chosenId(page), first, 'j moves on'));
    const second = await chosenId(page);
    const third = await held('write', { text: mark() });
    await row(page, third.id).waitFor();
    assert.equal(await chosenId(page), second, 'the choice stays on its hold');
    await page.keyboard.press('k');
    await eventually(async () => assert.equal(await chosen(page).count(), 1));
    assert.notEqual(await chosenId(page), second, 'k moves back');
    const open = await chosenId(page);
    await page.keyboard.press('o');
    await page.waitForURL(`**/holds/${open}`);
    third.hangUp();
  });
  for (const each of holds) each.hangUp();
});

test('what one types in the filter is text, and Escape leaves it', async () => {
  await reviewing({}, async (page) => {
    await page.keyboard.press('/');
    await page.keyboard.type('jkoade?');
    assert.equal(await page.getByRole('searchbox').inputValue(), 'jkoade?');
    assert.equal(await page.getByRole('dialog').filter({ visible: true }).count(), 0);
    assert.equal(new URL(page.url()).pathname, '/');
    await page.keyboard.press('Escape');
    assert.equal(await page.evaluate(() => document.activeElement?.type), undefined, 'the focus has left the filter');
  });
});

test('? helps and Escape closes it', async () => {
  await reviewing({}, async (page) => {
    await page.keyboard.press('?');
    const help = dialog(page, /keyboard|help/i);
    await help.waitFor();
    for (const key of ['j', 'k', 'o', 'a', 'd', 'e', '/', '?']) {
      assert.ok((await help.locator('kbd').allInnerTexts()).includes(key), `help names ${key}`);
    }
    await page.keyboard.press('Escape');
    await help.waitFor({ state: 'hidden' });
  });
});

test('together go only calls of one tool below tier high', async () => {
  const [a, b] = [await held('write', { text: mark() }), await held('write', { text: mark() })];
  const high = await held('refund', { invoice: 3, amount: '9' });
  await reviewing({}, async (page) => {
    const tick = (hold) => row(page, hold.id).getByRole('checkbox');
    const together = page.getByRole('button', { name: /approve (selected|\d+)/i });
    await tick(a).check();
    await tick(b).check();
    await eventually(async () => assert.equal(await together.isEnabled(), true, 'two of one tool'));
    // Where a tool is of tier high its box may be missing or disabled from the start.
    if ((await tick(high).count()) && (await tick(high).isEnabled())) {
      await tick(high).check();
      await eventually(async () => assert.equal(await together.isDisabled(), true, 'one is of tier high'));
    }
  });
  for (const each of [a, b, high]) each.hangUp();
});

test('what is chosen together is sent, each call once, and nothing else', async () => {
  const marks = [mark(), mark(), mark()];
  const holds = [];
  for (const text of marks) holds.push(await held('write', { text }));
  const [first, second, third] = holds;
  const other = await held('rewrite', { name: 'terms', text: marks[0] });
  await reviewing({}, async (page) => {
    const tick = (hold) => row(page, hold.id).getByRole('checkbox');
    const together = page.getByRole('button', { name: /approve (selected|\d+)/i });
    await tick(first).check();
    await tick(other).check();
    await eventually(async () => assert.equal(await together.isDisabled(), true, 'they are of two tools'));
    await tick(other).uncheck();
    await tick(second).check();
    // A live change takes no tick away.
    const late = await held('write', { text: mark() });
    await row(page, late.id).waitFor();
    assert.deepEqual([await tick(first).isChecked(), await tick(second).isChecked()], [true, true]);
    await picture(page, 'queue with two chosen');
    await page.getByRole('textbox', { name: /justification/i }).fill('both are owed');
    await together.click();
    await eventually(async () => assert.match((await page.getByRole('status').allInnerTexts()).join(' '), /2 signed/));
    for (const hold of [first, second]) await row(page, hold.id).waitFor({ state: 'detached' });
    assert.equal(await together.isVisible(), false, 'nothing is chosen any more');
    late.hangUp();
  });
  for (const hold of [first, second]) assert.match(told(await hold.answer), /write did it/);
  assert.deepEqual(await Promise.all(marks.map(async (text) => (await reached(text)).length)), [1, 1, 0]);
  for (const hold of [third, other]) assert.equal(await state(hold.id), 'pending');
  for (const hold of [third, other]) hold.hangUp();
});
