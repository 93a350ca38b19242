// What does a client see, step by step?
//
// Shared by sdk1.mjs and client2.mjs, which bring one SDK each. A scenario is
// JSON; the answer is one line of JSON. README.md lists what both may hold.

import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
/** Where setup.sh put the packages. */
export const clients = path.resolve(process.env.COUNTERSIGN_CLIENTS ?? path.join(here, '../../target/clients'));

/** Finds packages there. */
export const require = createRequire(path.join(clients, 'package.json'));

/** Reads the command line: URL, then the scenario. */
export function scenario() {
  const [url, json] = process.argv.slice(2);
  if (!url || !json) {
    console.error('usage: node CLIENT.mjs URL SCENARIO');
    process.exit(2);
  }
  return { token: undefined, mode: 'auto', answers: {}, steps: [], ...JSON.parse(json), url: new URL(url) };
}

/** A `fetch` that notes each exchange, and cuts a stream where a step says so. */
export function watchedFetch(seen) {
  const state = { cut: false };
  const fetchIt = async (input, init = {}) => {
    const headers = new Headers(init.headers);
    const response = await fetch(input, init);
    const type = response.headers.get('content-type')?.split(';')[0] ?? null;
    seen.http.push({
      method: init.method ?? 'GET',
      status: response.status,
      type,
      ...(headers.has('last-event-id') && { resumed: true }),
    });
    if (!state.cut || type !== 'text/event-stream' || init.method !== 'POST') return response;
    state.cut = false;
    return new Response(firstEvent(response.body), response);
  };
  return { fetch: fetchIt, cutNextStream: () => (state.cut = true) };
}

/** Passes on the first SSE event, then breaks off as a lost connection does. */
function firstEvent(body) {
  const reader = body.getReader();
  let text = '';
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = await reader.read();
      if (done) return controller.close();
      text += new TextDecoder().decode(value);
      controller.enqueue(value);
      if (!text.includes('\n\n')) return;
      await reader.cancel();
      controller.close();
    },
  });
}

/** What the client says when the server asks. */
export function answerers(answers, seen) {
  const note = (asked, request, reply) => {
    seen.asked.push({ method: asked, message: request.params?.message ?? null });
    return reply;
  };
  return {
    elicit: (request) =>
      note('elicitation/create', request, {
        action: answers.elicit === 'decline' ? 'decline' : 'accept',
        ...(answers.elicit !== 'decline' && { content: answers.elicit ?? {} }),
      }),
    sample: (request) =>
      note('sampling/createMessage', request, {
        role: 'assistant',
        model: 'test',
        stopReason: 'endTurn',
        content: { type: 'text', text: answers.sample ?? 'sampled' },
      }),
    roots: (request) => note('roots/list', request, { roots: answers.roots ?? [] }),
  };
}

const doers = {
  list: async (client) => ({ tools: (await client.listTools()).tools.map((tool) => tool.name) }),
  tools: (client) => client.listTools(),
  resources: (client) => client.listResources(),
  templates: (client) => client.listResourceTemplates(),
  read: (client, step) => client.readResource({ uri: step.uri }),
  prompts: (client) => client.listPrompts(),
  prompt: (client, step) => client.getPrompt({ name: step.name, arguments: step.args }),
  complete: (client, step) => client.complete({ ref: step.ref, argument: step.argument }),
  ping: (client) => client.ping(),
  level: (client, step) => client.setLoggingLevel(step.level),
  subscribe: (client, step) => client.subscribeResource({ uri: step.uri }),
  unsubscribe: (client, step) => client.unsubscribeResource({ uri: step.uri }),
  sleep: async (_client, step) => void (await new Promise((wake) => setTimeout(wake, step.ms))),
  listen: async (client, step, seen) => {
    seen.listening = await client.listen(step.filter ?? {}, {});
    return { listening: true };
  },
  unlisten: async (_client, _step, seen) => void (await seen.listening.close()),
  call: async (client, step, seen, watched) => {
    const abort = new AbortController();
    if (step.cancel_after_ms !== undefined) setTimeout(() => abort.abort('cancelled by the scenario'), step.cancel_after_ms);
    if (step.cut) watched.cutNextStream();
    const options = { signal: abort.signal, ...limit(step) };
    if (step.progress) options.onprogress = (progress) => seen.progress.push(progress);
    const params = { name: step.tool, arguments: step.args ?? {} };
    if (step.meta) params._meta = step.meta;
    return client.callTool(...(seen.sdk === 1 ? [params, undefined, options] : [params, options]));
  },
  collect: async (client, step, seen, watched) => {
    for (let tickets = 0; ; tickets += 1) {
      const answer = await doers.call(client, step, seen, watched);
      if (!isTicket(answer) || tickets === COLLECTS) return { tickets, answer };
      await new Promise((wake) => setTimeout(wake, step.pause_ms ?? 1000));
    }
  },
  task: (_client, step, seen) => seen.byTask({ name: step.tool, arguments: step.args ?? {} }),
};

/** How often a ticket is brought back before it is given up. */
const COLLECTS = 60;

/** What the SDK does by itself if a step says so: a held call has to do with that. */
const limit = (step) => (step.timeout_ms === 'default' ? {} : { timeout: step.timeout_ms ?? 30_000 });

/** Whether a result only says that people have yet to sign. */
const isTicket = (answer) => ['pending', 'approved', 'executing'].includes(answer._meta?.['io.countersign/hold']?.state);

/** Runs all steps on a client that `connect` makes, and prints what it saw. */
export async function run({ sdk, name, connect }) {
  const given = scenario();
  const seen = { client: name, protocol: null, server: null, results: [], progress: [], asked: [], notifications: [], http: [] };
  Object.defineProperty(seen, 'sdk', { value: sdk });
  Object.defineProperty(seen, 'listening', { value: undefined, writable: true });
  Object.defineProperty(seen, 'byTask', { value: undefined, writable: true });
  const watched = watchedFetch(seen);
  const headers = given.token ? { Authorization: `Bearer ${given.token}` } : {};
  try {
    const { client, protocol, close, byTask } = await connect({ given, seen, watched, headers });
    seen.byTask = byTask;
    seen.protocol = protocol();
    seen.server = client.getServerVersion()?.name ?? null;
    for (const step of given.steps) {
      try {
        const doer = doers[step.do];
        if (!doer) throw new Error(`no step \`${step.do}\``);
        const result = await doer(client, step, seen, watched);
        seen.results.push({ do: step.do, ok: result ?? {} });
      } catch (error) {
        seen.results.push({ do: step.do, error: { code: error.code ?? null, message: error.message, data: error.data ?? null } });
      }
    }
    await close();
  } catch (error) {
    seen.failed = { code: error.code ?? null, message: error.message };
  }
  console.log(JSON.stringify(seen));
  process.exit(seen.failed ? 1 : 0);
}
