// How does a call become a task with `@modelcontextprotocol/ext-tasks`?
//
// The SDK's client does not know the shape of tasks of 2026-07-28; the package
// takes the way to the wire from its host, which is this.

import path from 'node:path';
import { pathToFileURL } from 'node:url';

import { clients } from './steps.mjs';

// It is ESM only, so that `require` does not resolve it.
const entry = path.join(clients, 'node_modules/@modelcontextprotocol/ext-tasks/dist/client/index.js');
const VERSION = '2026-07-28';

/** Calls a tool, waits for the task that it became, if it did, and gives its statuses and its result. */
export async function byTask(client, { url, headers, fetch, params }) {
  const { createTaskSessionFromClient, resultFromTaskOutcome } = await import(pathToFileURL(entry));
  const statuses = [];
  const session = createTaskSessionFromClient(client, {
    endpointId: 'countersign-tests',
    ...(client.getProtocolEra() === 'modern' && {
      rawDispatch: (message) => dispatch(message, { url, headers, fetch }),
      v2RequestFraming: {
        protocolVersion: VERSION,
        clientInfo: { name: 'countersign-tests', version: '1.0.0' },
        clientCapabilities: {},
      },
    }),
  });
  try {
    const execution = await session.callTool(params.name, params.arguments, { task: { preference: 'prefer' } });
    const { outcome } = await execution.settle({
      onEvent: ({ task }) => void (task && statuses.push(`${task.status}: ${task.statusMessage}`)),
    });
    return { kind: execution.kind, statuses, answer: resultFromTaskOutcome(outcome) };
  } finally {
    await session.close();
  }
}

let next = 0;

/** One request on the wire, and its answer as the package wants it. */
async function dispatch(message, { url, headers, fetch }) {
  const { method, params } = message;
  const id = `task-${(next += 1)}`;
  const response = await fetch(url, {
    method: 'POST',
    headers: {
      ...headers,
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': VERSION,
      'mcp-method': method,
      'mcp-name': params.name ?? params.taskId,
    },
    body: JSON.stringify({ jsonrpc: '2.0', id, ...message }),
  });
  const text = await response.text();
  const isStream = response.headers.get('content-type')?.startsWith('text/event-stream');
  const messages = isStream
    ? text.split(/\r?\n/).filter((line) => /^data: ?\S/.test(line)).map((line) => JSON.parse(line.slice(5)))
    : [JSON.parse(text)];
  const { result, error } = messages.find((each) => each.id === id);
  return error ? { kind: 'error', error } : { kind: 'result', result };
}
