// Can everybody read and use it: on a desk and a phone, light and dark?

import { LOOKS, assert, axe, fitsTheWidth, picture, test, visit } from './harness.mjs';
import { OPERATOR, dialog, held, mark, reviewing } from './review.mjs';

for (const { look, ...options } of LOOKS) {
  const looked = async (page, what) => {
    await axe(page, `${what}, ${look}`);
    await fitsTheWidth(page, `${what}, ${look}`);
    await picture(page, `${what} ${look}`);
  };

  test(`the queue and its help: ${look}`, async () => {
    const hold = await held('refund', { invoice: 1, amount: '500', note: mark() });
    await reviewing(options, async (page) => {
      await looked(page, 'queue');
      await page.keyboard.press('j');
      await looked(page, 'queue with a choice');
      await page.keyboard.press('?');
      await dialog(page, /keyboard|help/i).waitFor();
      await looked(page, 'help');
    });
    hold.hangUp();
  });

  test(`one hold and what one decides in: ${look}`, async () => {
    const claim = { user: 'ann', reason: 'the customer asked', confidence: 0.4, evidence: ['https://example.org/1', 'not a link'] };
    const hold = await held('write', { text: `${mark()} ${'word '.repeat(2_000)}`, nested: { list: [1, null, true, { a: 'b' }] } }, claim);
    await reviewing({ at: hold.at, ...options }, (page) => looked(page, 'long hold'));
    hold.hangUp();
    const short = await held('refund', { invoice: 1, amount: '500', note: mark() }, claim);
    await reviewing({ at: short.at, ...options }, async (page) => {
      await looked(page, 'hold');
      for (const [key, name] of [['a', /approve/i], ['d', /deny/i], ['e', /edit/i], ['r', /answer/i]]) {
        await page.keyboard.press(key);
        await dialog(page, name).waitFor();
        await looked(page, `hold with key ${key}`);
        await page.keyboard.press('Escape');
        await dialog(page, name).waitFor({ state: 'hidden' });
      }
    });
    short.hangUp();
  });

  test(`signing in: ${look}`, async () => {
    await visit({ origin: OPERATOR, ...options }, async (page) => {
      await page.goto(`${OPERATOR}/sign-in`);
      assert.equal(await page.getByRole('button', { name: /sign in/i }).count(), 1);
      await looked(page, 'sign-in');
    });
  });
}

test('who asks for less movement gets none', async () => {
  await reviewing({ reducedMotion: 'reduce' }, async (page) => {
    const moving = await page.evaluate(() => document.getAnimations().length);
    assert.equal(moving, 0);
  });
});
