// Is what an agent or a server writes text, and nothing but text? (E09)
//
// Everything hostile goes through a real call into the real page. Had any of
// it worked, the harness would have seen a dialog, a request or a breach of the
// CSP; that the characters are there, as text, is what is asserted here.

import { HOSTILE, HOSTILE_TOOLS } from './hostile.mjs';
import { agent } from './agent.mjs';
import { assert, axe, fitsTheWidth, picture, test, PHONE } from './harness.mjs';
import { OPERATOR, dialog, held, mark, reviewing, row } from './review.mjs';

const pointer = (key) => `/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`;
const raw = (hidden) => String.fromCodePoint(Number.parseInt(hidden, 16));

/** Elements that no text of others may become, wherever others' text is shown. */
async function inert(page) {
  const found = await page.evaluate(() => {
    const others = [...document.querySelectorAll('[data-leaf], [data-untrusted], [data-hold], h1')].filter((each) => each.tagName !== 'MAIN');
    const alive = others.flatMap((each) => [...each.querySelectorAll('script, style, svg, img, iframe, object, embed, meta, base, link, [hx-get], [onload], [onfocus], [srcdoc]')]
      .filter((element) => element.closest('[data-leaf], [data-untrusted], h1')));
    return {
      alive: alive.map((element) => element.outerHTML),
      links: [...document.querySelectorAll('a[href], area[href]')].map((a) => new URL(a.href).protocol).filter((protocol) => !/^https?:$/.test(protocol)),
      forms: [...document.forms].map((form) => new URL(form.action).origin).filter((origin) => origin !== location.origin),
      base: document.baseURI === location.href,
      owned: window.owned,
    };
  });
  assert.deepEqual(found, { alive: [], links: [], forms: [], base: true, owned: undefined });
  // Hidden characters have effect wherever they are: in the text, a title, a label.
  const text = await page.evaluate(() =>
    document.title + document.body.textContent
    + [...document.querySelectorAll('[title], [aria-label], [alt]')].map((each) => each.title + each.ariaLabel + each.alt).join());
  const hidden = Object.values(HOSTILE).flatMap((each) => each.hidden ?? []).filter((code) => text.includes(raw(code)));
  assert.deepEqual(hidden, [], 'these characters are in the page as they are');
}

async function sameText(leaf, { text, hidden = [] }, what) {
  const shown = await leaf.evaluate((element) => {
    const copy = element.cloneNode(true);
    const codes = [...copy.querySelectorAll('[data-hidden]')].map((each) => {
      const { hidden } = each.dataset;
      const visible = each.textContent;
      each.replaceWith(String.fromCodePoint(Number.parseInt(hidden, 16)));
      return [hidden, visible];
    });
    // Not `trim`, which takes U+FEFF as well.
    return { text: copy.textContent.replaceAll(/^[ \n]+|[ \n]+$/g, ''), codes };
  });
  // Quotes around a string are the page's to choose.
  assert.ok([text, `"${text}"`].includes(shown.text), `${what}: ${JSON.stringify(shown.text)}`);
  for (const code of hidden) {
    const place = shown.codes.find(([each]) => each === code);
    assert.ok(place, `${what}: U+${code} has a mark`);
    assert.ok(place[1].trim().length > 1, `${what}: the mark of U+${code} can be seen`);
  }
}

test('hostile arguments are shown as they are written', async () => {
  const args = Object.fromEntries(Object.entries(HOSTILE).map(([name, { text }]) => [name, text]));
  const hold = await held('write', { mark: mark(), values: args, keys: Object.fromEntries(Object.values(HOSTILE).map(({ text }) => [text, 1])) });
  await reviewing({ at: hold.at }, async (page) => {
    for (const [name, hostile] of Object.entries(HOSTILE)) {
      await sameText(page.locator(`[data-leaf="/values${pointer(name)}"]`), hostile, name);
    }
    await inert(page);
    await page.keyboard.press('e');
    await dialog(page, /edit/i).waitFor();
    const source = await page.getByRole('textbox', { name: /arguments/i }).inputValue();
    assert.deepEqual(JSON.parse(source).values, args, 'what one edits is what would be sent');
    await inert(page);
    await page.keyboard.press('Escape');
    await picture(page, 'hostile arguments');
  });
  await reviewing({ at: hold.at, viewport: PHONE }, async (page) => {
    await fitsTheWidth(page);
    await axe(page);
  });
  hold.hangUp();
});

for (const [name, { text, hidden = [] }] of Object.entries(HOSTILE)) {
  test(`claims are text, and marked as the agent's own: ${name}`, async () => {
    const claim = { user: text, workflow: text, step: text, reason: text, evidence: [text, `https://example.org/?q=${text}`], confidence: 0.5 };
    const hold = await held('write', { text: mark() }, claim);
    await reviewing({}, async (page) => {
      await row(page, hold.id).waitFor();
      await inert(page);
      await page.goto(OPERATOR + hold.at);
      const shown = (await page.locator('[data-untrusted]').allTextContents()).join('\n');
      // Without hidden characters the text is there letter by letter.
      if (hidden.length === 0) assert.ok(shown.includes(text), shown);
      for (const code of hidden) assert.ok(await page.locator(`[data-untrusted] [data-hidden="${code}"]`).count(), `U+${code} has a mark`);
      await inert(page);
    });
    hold.hangUp();
  });
}

test('hostile names and titles of tools are text', async () => {
  const { AGENT_URL: url, AGENT_TOKEN: token } = process.env;
  const offered = await (await agent({ url, token })).tools();
  const shown = HOSTILE_TOOLS.filter(({ name }) => offered.includes(name));
  assert.ok(shown.length > 0, `the gate offers at least \`titled\`: ${offered}`);
  for (const { name } of shown) {
    const hold = await held(name, { mark: mark() });
    await reviewing({}, async (page) => {
      await row(page, hold.id).waitFor();
      await inert(page);
      await page.goto(OPERATOR + hold.at);
      await inert(page);
      await picture(page, `hostile tool ${name.slice(0, 12)}`);
    });
    hold.hangUp();
  }
});

test('what a server answers a preview with is text', async () => {
  const hold = await held('rewrite', { name: 'hostile', text: `${HOSTILE.image.text}\n${mark()}` });
  await reviewing({ at: hold.at }, async (page) => {
    const diff = page.locator('[data-diff]');
    await diff.locator('del').first().waitFor();
    assert.match(await diff.innerText(), /<\/script><\/textarea>/);
    assert.ok(await diff.locator('[data-hidden="202E"]').count(), 'U+202E has a mark');
    assert.equal(await diff.locator('script, img, svg').count(), 0);
    await inert(page);
  });
  hold.hangUp();
});

test('a hostile search is text', async () => {
  await reviewing({}, async (page) => {
    for (const { text } of Object.values(HOSTILE)) {
      await page.goto(`${OPERATOR}/?q=${encodeURIComponent(text)}`);
      // It may find something: tools have such names.
      await page.locator('#list').waitFor();
      await page.getByRole('searchbox').fill(`${text} `);
      const found = await page.evaluate(() => [window.owned, document.querySelectorAll('main script, main iframe, main object').length]);
      assert.deepEqual(found, [undefined, 0]);
    }
  });
});

test('200 KB in one value, one key and many values neither break nor widen the page', async () => {
  const long = 'x'.repeat(200_000);
  for (const args of [{ long }, { [long.slice(0, 50_000)]: 1 }, { many: Array.from({ length: 5_000 }, (_, at) => `value ${at}`) }]) {
    const hold = await held('write', { mark: mark(), ...args });
    for (const viewport of [undefined, PHONE]) {
      await reviewing({ at: hold.at, ...(viewport && { viewport }) }, async (page) => {
        await fitsTheWidth(page);
        await inert(page);
        await page.keyboard.press('d');
        await dialog(page, /deny/i).waitFor();
      });
    }
    hold.hangUp();
  }
});
