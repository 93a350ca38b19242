// Does somebody sign in with a real issuer?
//
// The issuer is `oidc-provider`, certified by the OpenID Foundation; its own
// pages for sign-in and consent are filled in here as a person would. The gate
// is the real binary: COUNTERSIGN_BIN. Run with `node --test`.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';

const home = process.env.COUNTERSIGN_CLIENTS ?? path.resolve(import.meta.dirname, '../../target/clients');
const binary = process.env.COUNTERSIGN_BIN ?? path.resolve(import.meta.dirname, '../../target/debug/countersign');
const require = createRequire(path.join(home, 'package.json'));
const { Provider } = await import(pathToFileURL(require.resolve('oidc-provider')));

const SECRET = 's3cret-of-the-gate-5e2b81';
const people = {
  ann: { email: 'ann@example.com', email_verified: true, groups: ['payments'] },
  bob: { email: 'bob@example.com', email_verified: true, groups: ['support'] },
  eve: { email: 'ann@example.com', email_verified: false, groups: ['payments'] },
};

const directory = mkdtempSync(path.join(tmpdir(), 'countersign-oidc-'));
let issuer, gate, listening, child;

before(async () => {
  const [issuerPort, gatePort, agentsPort, toolPort] = await Promise.all([port(), port(), port(), port()]);
  issuer = `http://127.0.0.1:${issuerPort}`;
  gate = `http://127.0.0.1:${gatePort}`;
  const provider = new Provider(issuer, {
    clients: [{ client_id: 'gate', client_secret: SECRET, redirect_uris: [`${gate}/sign-in/oidc/callback`] }],
    claims: { openid: ['sub'], email: ['email', 'email_verified'], groups: ['groups'] },
    scopes: ['openid', 'email', 'groups'],
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...people[id] }) }),
    cookies: { keys: ['a key of this test'] },
    pkce: { required: () => true },
  });
  listening = provider.listen(issuerPort, '127.0.0.1');

  mkdirSync(path.join(directory, 'policies'));
  writeFileSync(path.join(directory, 'policies/all.rego'), 'package countersign.permission\n\nallow := true\n');
  writeFileSync(path.join(directory, 'oidc.secret'), SECRET, { mode: 0o600 });
  writeFileSync(path.join(directory, 'countersign.yaml'), `
listen: 127.0.0.1:${agentsPort}
operator:
  listen: 127.0.0.1:${gatePort}
  oidc: {issuer: "${issuer}", client_id: gate, client_secret: {file: ./oidc.secret}, scopes: [openid, email, groups]}
state: ./state
policies: [./policies]
agents: [{id: dev, anonymous: true}]
servers: {none: {mcp: "http://127.0.0.1:${toolPort}/mcp", required: false}}
`);
  child = spawn(binary, ['run'], { cwd: directory, stdio: ['ignore', 'inherit', 'inherit'] });
  for (let tries = 0; tries < 400; tries += 1) {
    const well = await fetch(`${gate}/healthz`).catch(() => undefined);
    if (well?.ok) return;
    await new Promise((done) => setTimeout(done, 50));
  }
  throw new Error('the gate does not start');
});

after(() => {
  child?.kill();
  listening?.close();
  listening?.closeAllConnections();
  rmSync(directory, { recursive: true, force: true });
});

test('a person signs in with the issuer and is known by email and groups', async () => {
  const browser = new Browser();
  const page = await browser.signsIn('ann');
  assert.equal(page.status, 200, page.text);
  assert.match(page.text, /http-equiv="refresh"/);
  const holds = await browser.get(`${gate}/api/v1/holds`);
  assert.equal(holds.status, 200, holds.text);
  assert.deepEqual(JSON.parse(holds.text), { holds: [], total: 0 });
  const session = browser.session();
  assert.deepEqual(session.reviewer, { id: 'ann@example.com', groups: ['payments'] });
});

test('each person is who the issuer says, with the groups it says', async () => {
  const browser = new Browser();
  assert.equal((await browser.signsIn('bob')).status, 200);
  assert.deepEqual(browser.session().reviewer, { id: 'bob@example.com', groups: ['support'] });
});

test('an address that is not verified names nobody', async () => {
  const browser = new Browser();
  const page = await browser.signsIn('eve');
  assert.equal(page.status, 403, page.text);
  assert.match(page.text, /not verified/);
  assert.equal((await browser.get(`${gate}/api/v1/holds`)).status, 401);
});

test('who declines comes back as nobody', async () => {
  const browser = new Browser();
  const page = await browser.get(`${gate}/sign-in/oidc`);
  const abort = page.text.match(/href="([^"]+\/abort)"/)[1];
  const back = await browser.get(new URL(abort, page.url).href);
  assert.equal(back.status, 403, back.text);
  assert.equal((await browser.get(`${gate}/api/v1/holds`)).status, 401);
});

test('a code is taken once', async () => {
  const browser = new Browser();
  await browser.signsIn('ann');
  const again = new Browser();
  const callback = browser.visited.findLast((url) => url.includes('/callback?'));
  assert.equal((await again.get(callback)).status, 400);
  assert.equal((await browser.get(callback)).status, 400);
});

/** Follows redirects and keeps cookies by host and path, as far as this test needs it. */
class Browser {
  cookies = new Map();
  visited = [];

  async get(url) {
    return this.request(url, {});
  }

  async request(url, init) {
    for (let hops = 0; hops < 20; hops += 1) {
      this.visited.push(url);
      const to = new URL(url);
      const sent = [...this.cookies.values()]
        .filter((cookie) => cookie.host === to.host && to.pathname.startsWith(cookie.path))
        .map((cookie) => cookie.pair);
      const response = await fetch(url, { ...init, redirect: 'manual', headers: { ...init.headers, cookie: sent.join('; ') } });
      for (const set of response.headers.getSetCookie()) this.keep(to, set);
      const location = response.headers.get('location');
      if (!location) return { status: response.status, url, text: await response.text() };
      url = new URL(location, url).href;
      init = {};
    }
    throw new Error(`too many redirects: ${this.visited.join(' ')}`);
  }

  keep(url, set) {
    const [pair, ...rest] = set.split(';').map((part) => part.trim());
    const [name, value] = [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)];
    const attribute = (wanted) => rest.find((part) => part.toLowerCase().startsWith(`${wanted}=`))?.split('=')[1];
    const key = `${url.host} ${attribute('path') ?? '/'} ${name}`;
    const gone = value === '' || attribute('max-age') === '0' || new Date(attribute('expires') ?? '9999') < new Date();
    if (gone) this.cookies.delete(key);
    else this.cookies.set(key, { host: url.host, path: attribute('path') ?? '/', name, pair });
  }

  /** Goes to the gate, signs in at the issuer, consents, and comes back. */
  async signsIn(who) {
    let page = await this.get(`${gate}/sign-in/oidc`);
    page = await this.submit(page, { login: who, password: 'any' });
    return this.submit(page, {});
  }

  async submit(page, fields) {
    const form = page.text.match(/<form[^>]*action="([^"]+)"[^>]*>([\s\S]*?)<\/form>/);
    assert.ok(form, `no form at ${page.url}: ${page.text}`);
    const body = new URLSearchParams(fields);
    for (const [, name, value] of form[2].matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)"/g)) body.set(name, value);
    return this.request(new URL(form[1], page.url).href, { method: 'POST', body });
  }

  /** What the gate's cookie says; it is signed, not secret. */
  session() {
    const cookie = [...this.cookies.values()].find(({ name }) => name === 'countersign');
    const value = decodeURIComponent(cookie.pair.slice(cookie.pair.indexOf('=') + 1));
    return JSON.parse(Buffer.from(value.slice(44), 'base64url'));
  }
}

/** A port that nobody has just now. */
function port() {
  return new Promise((done, failed) => {
    const server = createServer().on('error', failed);
    server.listen(0, '127.0.0.1', () => {
      const { port: free } = server.address();
      server.close(() => done(free));
    });
  });
}
