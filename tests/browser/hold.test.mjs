// Can one hold be understood, and decided by keyboard alone, and does the agent learn of it?

import { told } from './agent.mjs';
import { PHONE, assert, axe, eventually, fitsTheWidth, picture, test } from './harness.mjs';
import { action, approve, becomes, dialog, held, locked, mark, reached, request, reviewing, state } from './review.mjs';

test('the page shows the arguments, the rule in its words, and the claims apart', async () => {
  const args = { invoice: 42, amount: '500', note: mark() };
  const hold = await held('refund', args, { reason: 'the customer asked', confidence: 0.93, evidence: ['https://example.org/ticket/1'] });
  await reviewing({ at: hold.at }, async (page) => {
    assert.equal(await page.getByRole('heading', { level: 1 }).count(), 1);
    for (const [name, value] of Object.entries(args)) {
      assert.equal((await page.locator(`[data-arguments] [data-leaf="/${name}"]`).innerText()).trim(), String(value));
    }
    assert.match(await page.locator('main').innerText(), /needs a signature in this test/);
    const claims = (await page.locator('[data-untrusted]').allInnerTexts()).join('\n');
    for (const expected of [/the customer asked/, /0\.93|93/, /example\.org\/ticket\/1/]) assert.match(claims, expected);
    const link = page.locator('[data-untrusted] a[href="https://example.org/ticket/1"]');
    assert.match(await link.getAttribute('rel'), /noopener/);
    assert.match(await link.getAttribute('rel'), /noreferrer/);
  });
  hold.hangUp();
});

test('a approves: the tool runs once and the agent gets its result', async () => {
  const text = mark();
  const hold = await held('write', { text });
  assert.deepEqual(await reached(text), [], 'nothing ran before the signature');
  await reviewing({ at: hold.at }, async (page) => {
    await approve(page);
    await becomes(page, 'done');
    assert.match((await page.getByRole('status').allInnerTexts()).join(' '), /done|approved|executed/i);
  });
  assert.match(told(await hold.answer), /write did it/);
  assert.deepEqual(await reached(text), [{ name: 'write', arguments: { text } }]);
});

test('a tool that wants a justification is not approved without', async () => {
  const hold = await held('refund', { invoice: 7, amount: '500', note: mark() });
  await reviewing({ at: hold.at }, async (page) => {
    await page.keyboard.press('a');
    const asked = dialog(page, /approve/i);
    await asked.getByRole('button', { name: /^approve/i }).click();
    assert.equal(await asked.isVisible(), true, 'it still asks');
    assert.equal(await state(hold.id), 'pending');
    await asked.getByRole('textbox', { name: /justification/i }).fill('checked with the customer');
    await asked.getByRole('button', { name: /^approve/i }).click();
    await becomes(page, 'done');
  });
  assert.match(told(await hold.answer), /refund did it/);
});

test('Escape takes each dialog back and changes nothing', async () => {
  const hold = await held('write', { text: mark() });
  await reviewing({ at: hold.at }, async (page) => {
    for (const [key, name] of [['a', /approve/i], ['d', /deny/i], ['e', /edit/i], ['?', /keyboard|help/i]]) {
      await page.keyboard.press(key);
      await dialog(page, name).waitFor();
      await page.keyboard.press('Escape');
      await dialog(page, name).waitFor({ state: 'hidden' });
    }
    assert.equal(await state(hold.id), 'pending');
  });
  hold.hangUp();
});

test('d denies with a preset, which reaches the agent', async () => {
  const text = mark();
  const hold = await held('write', { text });
  let words;
  await reviewing({ at: hold.at }, async (page) => {
    await page.keyboard.press('d');
    const asked = dialog(page, /deny/i);
    const preset = asked.getByRole('radio').first();
    await preset.check();
    words = await preset.evaluate((radio) => [radio.value, radio.labels[0].innerText.trim()]);
    await asked.getByRole('button', { name: /^deny/i }).click();
    await becomes(page, 'denied');
  });
  const answer = told(await hold.answer);
  assert.ok(words.some((word) => word && answer.includes(word)), `${words} in ${answer}`);
  assert.deepEqual(await reached(text), []);
});

test('d denies in one\'s own words, typed by keyboard alone', async () => {
  const text = mark();
  const hold = await held('write', { text });
  await reviewing({ at: hold.at }, async (page) => {
    await page.keyboard.press('d');
    const asked = dialog(page, /deny/i);
    const words = asked.getByRole('textbox');
    await words.focus();
    await page.keyboard.type('jade asked: use invoice 42 instead');
    assert.equal(await words.inputValue(), 'jade asked: use invoice 42 instead');
    await page.keyboard.press('Tab');
    await asked.getByRole('button', { name: /^deny/i }).focus();
    await page.keyboard.press('Enter');
    await becomes(page, 'denied');
  });
  assert.match(told(await hold.answer), /use invoice 42 instead/);
  assert.deepEqual(await reached(text), []);
});

test('e edits and approves: the edited call runs and the agent is told', async () => {
  const note = mark();
  const hold = await held('refund', { invoice: 41, amount: '500', note });
  await reviewing({ at: hold.at, expected: [/status of 4\d\d/] }, async (page) => {
    await page.keyboard.press('e');
    const asked = dialog(page, /edit/i);
    const source = asked.getByRole('textbox', { name: /arguments/i });
    const submit = async () => {
      const justification = asked.getByRole('textbox', { name: /justification/i });
      if (await justification.count()) await justification.fill('half is enough');
      await asked.getByRole('button', { name: /edit and approve/i }).click();
    };
    assert.deepEqual(JSON.parse(await source.inputValue()), { invoice: 41, amount: '500', note });
    for (const refused of ['{"invoice": 41,', JSON.stringify({ invoice: 'forty-one', amount: '250', note })]) {
      await source.fill(refused);
      await submit();
      await page.getByRole('alert').filter({ visible: true }).first().waitFor();
      assert.equal(await source.inputValue(), refused, 'what was typed is still there');
      assert.equal(await state(hold.id), 'pending');
    }
    await source.fill(JSON.stringify({ invoice: 41, amount: '250', note }));
    await submit();
    await becomes(page, 'done');
  });
  const answer = told(await hold.answer);
  assert.match(answer, /refund did it/);
  assert.match(answer, /amount/, 'the agent is told what was changed');
  assert.deepEqual(await reached(note), [{ name: 'refund', arguments: { invoice: 41, amount: '250', note } }]);
});

test('r answers in the tool\'s place: nothing runs and the agent reads it', async () => {
  const text = mark();
  const hold = await held('write', { text });
  await reviewing({ at: hold.at }, async (page) => {
    await page.keyboard.press('r');
    const asked = dialog(page, /answer/i);
    const send = asked.getByRole('button', { name: /send the answer/i });
    await send.click();
    assert.equal(await state(hold.id), 'pending', 'an empty answer is none');
    await asked.getByRole('textbox').fill('use invoice 42 instead');
    await send.click();
    await becomes(page, 'denied');
    assert.match(await page.locator('main').innerText(), /use invoice 42 instead/);
  });
  assert.match(told(await hold.answer), /use invoice 42 instead/);
  assert.deepEqual(await reached(text), []);
});

test('before and after: the lines of a text that would change, read through the gate', async () => {
  const text = `Pay in 14 days.\nNo refunds.\nWrite to us.\n${mark()}\n`;
  const hold = await held('rewrite', { name: 'terms', text });
  await reviewing({ at: hold.at }, async (page) => {
    const diff = page.locator('[data-diff]');
    await diff.waitFor();
    assert.deepEqual(await diff.locator('del').allInnerTexts(), ['- Pay in 30 days.']);
    const [changed, added] = await diff.locator('ins').allInnerTexts();
    assert.equal(changed, '+ Pay in 14 days.');
    assert.match(added, /^\+ mark-/);
    assert.match(await diff.innerText(), /No refunds/, 'what stays is around it');
    await picture(page, 'hold with a diff');
    await page.setViewportSize(PHONE);
    await fitsTheWidth(page);
    await axe(page, 'hold with a diff');
    await picture(page, 'hold with a diff on a phone');
    assert.deepEqual(await reached(text.slice(-42, -1)), [], 'a look at it runs nothing');
    await approve(page);
    await becomes(page, 'done');
  });
  assert.match(told(await hold.answer), /rewrite did it/);
});

test('before and after: the members of an object, and what cannot be read', async () => {
  const limits = { who: ['ann', 'bob'], currency: 'USD', daily: 900 };
  for (const [tool, args, expected] of [
    ['configure', { name: 'limits', value: limits }, /- +"daily": 100,\s+\+ +"daily": 900,/],
    ['configure', { name: 'limits', value: { ...limits, daily: 100 } }, /nothing would change/i],
    ['configure', { name: 'nowhere', value: limits }, /not known/i],
    ['configure', { value: limits }, /not known/i],
  ]) {
    const hold = await held(tool, { ...args, note: mark() });
    await reviewing({ at: hold.at }, async (page) => {
      const diff = page.locator('[data-diff]');
      await diff.waitFor();
      // Lines are blocks; between them stands what innerText makes of that.
      assert.match(await diff.innerText(), expected);
      if (args.value.daily === 900 && args.name === 'limits') {
        assert.deepEqual([await diff.locator('del').count(), await diff.locator('ins').count()], [1, 1], 'another order is no change');
      }
    });
    hold.hangUp();
  }
});

test('a long value locks approval until each part has been on screen', async () => {
  const text = `${mark()} ${'word '.repeat(6_000)}the end`;
  const hold = await held('write', { text, short: 'x' });
  await reviewing({ at: hold.at }, async (page) => {
    const yes = action(page, /^approve/i);
    assert.equal(await locked(yes), true, 'locked at first');
    await page.keyboard.press('a');
    assert.equal(await dialog(page, /approve/i).count(), 0, 'and by key');
    await page.keyboard.press('Escape');
    for (const closed of await page.locator('details:has([data-part]) > summary').all()) await closed.click();
    const parts = page.locator('[data-part]');
    const count = await parts.count();
    assert.ok(count > 0, 'it has parts');
    await scrollThrough(page, parts.first());
    // Neighbours come on screen together; the far end of 30 KB does not.
    assert.equal(await locked(yes), true, 'only the first has been on screen');
    for (let part = 1; part < count; part += 1) await scrollThrough(page, parts.nth(part));
    await eventually(async () => assert.equal(await page.locator('[data-part=unseen]').count(), 0));
    await eventually(async () => assert.equal(await locked(yes), false, 'open once all was seen'));
    assert.equal(await page.locator('[data-leaf="/text"]').evaluate((leaf, all) => leaf.textContent.includes(all), text), true, 'nothing is left out');
    await approve(page);
    await becomes(page, 'done');
  });
  assert.match(told(await hold.answer), /write did it/);
});

test('without script a long value stays locked', async () => {
  const hold = await held('write', { text: `${mark()} ${'word '.repeat(40_000)}` });
  const html = await (await request(hold.at)).text();
  const buttons = [...html.matchAll(/<button\b[^>]*>\s*Approve/gi)].map(([tag]) => tag);
  assert.ok(buttons.length > 0 && buttons.some((tag) => /\bdisabled\b|aria-disabled="true"/.test(tag)), buttons.join(' '));
  hold.hangUp();
});

/** Brings a part on screen from its top to its end, as somebody who reads it. */
async function scrollThrough(page, part) {
  await part.scrollIntoViewIfNeeded();
  await part.evaluate(async (element) => {
    const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 20)));
    element.scrollIntoView({ block: 'start' });
    await frame();
    const screens = Math.ceil(element.getBoundingClientRect().height / innerHeight);
    for (let screen = 0; screen < screens; screen += 1) {
      scrollBy(0, innerHeight * 0.9);
      await frame();
    }
    element.scrollIntoView({ block: 'end' });
    await frame();
  });
}
