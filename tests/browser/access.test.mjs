// Who gets in, and does a change need a person at this page? (E08)

import { createServer } from 'node:http';

import { assert, test, visit } from './harness.mjs';
import { OPERATOR, held, mark, reached, request, reviewing, state } from './review.mjs';

test('the one-time link works once', async () => {
  // The session of these tests has used it.
  await reviewing({}, async (page) => assert.equal(new URL(page.url()).pathname, '/'));
  await visit({ origin: OPERATOR, expected: [/status of 4\d\d/] }, async (page, context) => {
    // The answer may be a bare 4xx, which is no page for Chromium.
    await page.goto(process.env.SIGN_IN_LINK).catch(() => {});
    await page.goto(`${OPERATOR}/`);
    assert.equal(new URL(page.url()).pathname, '/sign-in');
    assert.equal(await page.locator('[data-hold]').count(), 0);
    const cookies = (await context.cookies()).map(({ name }) => name);
    const { cookies: own } = JSON.parse((await import('node:fs')).readFileSync(process.env.BROWSER_SESSION));
    const values = new Set(own.map(({ value }) => value));
    assert.equal((await context.cookies()).some(({ value }) => values.has(value)), false, `${cookies}`);
  });
});

test('without a session nothing is shown', async () => {
  const hold = await held('write', { text: mark() });
  for (const path of ['/', hold.at, '/events']) {
    const response = await request(path, { signedIn: false });
    assert.ok([302, 303, 307, 401, 403].includes(response.status), `${path}: ${response.status}`);
    assert.equal((await response.text()).includes(hold.id), false, path);
  }
  hold.hangUp();
});

test('the session is out of reach of scripts and other sites', async () => {
  await reviewing({}, async (page, context) => {
    const cookies = await context.cookies();
    assert.ok(cookies.length > 0);
    for (const { name, httpOnly, sameSite } of cookies) {
      assert.deepEqual({ name, httpOnly, sameSite }, { name, httpOnly: true, sameSite: 'Strict' });
    }
    assert.equal(await page.evaluate(() => document.cookie), '');
  });
});

test('each page says what may run in it and that it may not be framed or kept', async () => {
  const hold = await held('write', { text: mark() });
  for (const path of ['/', hold.at, '/sign-in', '/holds/00000000000000000000000000000000']) {
    const { headers } = await request(path);
    const csp = headers.get('content-security-policy') ?? '';
    assert.match(csp, /default-src 'none'/, path);
    assert.match(csp, /frame-ancestors 'none'/, path);
    assert.match(csp, /base-uri 'none'/, path);
    assert.doesNotMatch(csp, /unsafe|https?:|\*/, path);
    assert.match(headers.get('x-frame-options') ?? '', /^deny$/i, path);
    assert.equal(headers.get('x-content-type-options'), 'nosniff', path);
    assert.match(headers.get('referrer-policy') ?? '', /no-referrer|same-origin/, path);
    assert.match(headers.get('cache-control') ?? '', /no-store/, path);
  }
  hold.hangUp();
});

/** What the page of a hold would send: its forms, with their addresses and fields. */
async function changes(page) {
  const forms = await page.evaluate(() => [...document.querySelectorAll('form')].map((form) => ({
    method: form.getAttribute('method') ?? '',
    address: form.getAttribute('hx-post') ?? form.getAttribute('action') ?? '',
    hx: form.hasAttribute('hx-post'),
    fields: [...new FormData(form)].map(([name, value]) => [name, String(value)]),
  })));
  return forms.filter(({ method, hx }) => hx || method.toLowerCase() === 'post');
}

test('no change without the token, from another site, without the session, or by GET', async () => {
  const text = mark();
  const hold = await held('write', { text });
  const forms = await reviewing({ at: hold.at }, changes);
  const deciding = forms.filter(({ address }) => address.includes(hold.id) || address === '');
  assert.ok(deciding.length >= 3, `approve, deny and edit are forms: ${JSON.stringify(forms.map(({ address }) => address))}`);
  const elsewhere = { origin: 'https://evil.invalid', 'sec-fetch-site': 'cross-site' };
  const here = { origin: OPERATOR, 'sec-fetch-site': 'same-origin' };
  const type = { 'content-type': 'application/x-www-form-urlencoded' };
  for (const { address, fields } of deciding) {
    const path = address || hold.at;
    assert.ok(fields.some(([name, value]) => name === 'csrf' && value.length >= 16), `${path} has a token`);
    const filled = (csrf) => new URLSearchParams([
      ...fields.filter(([name]) => name !== 'csrf'), ...(csrf === undefined ? [] : [['csrf', csrf]]), ['justification', 'x'], ['reason', 'x'],
    ]).toString();
    const token = fields.find(([name]) => name === 'csrf')[1];
    for (const [what, options] of [
      ['no token', { method: 'POST', headers: { ...type, ...here }, body: filled() }],
      ['a wrong token', { method: 'POST', headers: { ...type, ...here }, body: filled(token.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A'))) }],
      ['another site', { method: 'POST', headers: { ...type, ...elsewhere }, body: filled(token) }],
      ['an opaque origin', { method: 'POST', headers: { ...type, origin: 'null', 'sec-fetch-site': 'cross-site' }, body: filled(token) }],
      ['no session', { method: 'POST', headers: { ...type, ...here }, body: filled(token), signedIn: false }],
      ['JSON as text', { method: 'POST', headers: { ...elsewhere, 'content-type': 'text/plain' }, body: JSON.stringify(Object.fromEntries(fields)) }],
    ]) {
      const { status } = await request(path, options);
      // Without a session one may be sent to /sign-in instead.
      assert.ok((status >= 400 && status < 500) || (what === 'no session' && status === 303), `${what} at ${path}: ${status}`);
      assert.equal(await state(hold.id), 'pending', `${what} at ${path}`);
    }
    for (const method of ['GET', 'HEAD']) {
      const { status } = await request(`${path}?${filled(token)}`, { method, headers: here });
      if (path !== hold.at) assert.ok([404, 405].includes(status), `${method} ${path}: ${status}`);
      assert.equal(await state(hold.id), 'pending', `${method} ${path}`);
    }
  }
  assert.deepEqual(await reached(text), []);
  hold.hangUp();
});

test('another site, in the same browser, cannot post and cannot frame', async () => {
  const text = mark();
  const hold = await held('write', { text });
  const [form] = (await reviewing({ at: hold.at }, changes)).filter(({ address }) => /approve/.test(address));
  assert.ok(form, 'there is a form that approves');
  const target = OPERATOR + form.address;
  const evil = createServer((incoming, answer) => {
    answer.setHeader('content-type', 'text/html');
    const fields = [...form.fields, ['justification', 'x']].map(([name, value]) => `<input name="${name}" value="${value}">`).join('');
    answer.end(incoming.url === '/frame'
      ? `<title>x</title><link rel="icon" href="data:,"><iframe src="${OPERATOR}${hold.at}"></iframe>`
      : `<title>x</title><link rel="icon" href="data:,"><form method="post" action="${target}">${fields}<button>Win a prize</button></form>`);
  }).listen(0, '127.0.0.1');
  await new Promise((done) => evil.once('listening', done));
  // By name another site than 127.0.0.1; a port alone would be the same site with its cookies.
  const site = `http://localhost:${evil.address().port}`;
  try {
    for (const from of [site, `http://127.0.0.1:${evil.address().port}`]) {
      await reviewing({ expected: [/another origin/, /status of 4\d\d/, /frame-ancestors|X-Frame-Options|Refused|refused to connect|Framing/i] }, async (page) => {
        await page.goto(`${from}/post`);
        await page.getByRole('button').click();
        await page.waitForLoadState().catch(() => {});
        assert.equal(await state(hold.id), 'pending', `a post from ${from}`);
        await page.goto(`${from}/frame`);
        const [, framed] = page.frames();
        assert.equal(await framed.locator('[data-hold]').count(), 0, `framed by ${from}`);
      });
    }
  } finally {
    evil.close();
  }
  assert.equal(await state(hold.id), 'pending');
  assert.deepEqual(await reached(text), []);
  hold.hangUp();
});

test('the agent that asked cannot sign with its own token', async () => {
  const hold = await held('write', { text: mark() });
  const forms = await reviewing({ at: hold.at }, changes);
  for (const { address, fields } of forms.filter((form) => form.address.includes(hold.id))) {
    const { status } = await request(address, {
      method: 'POST', signedIn: false, body: new URLSearchParams(fields),
      headers: { authorization: `Bearer ${process.env.AGENT_TOKEN}`, origin: OPERATOR },
    });
    assert.ok([303, 401, 403].includes(status), `${address}: ${status}`);
  }
  assert.equal(await state(hold.id), 'pending');
  hold.hangUp();
});
