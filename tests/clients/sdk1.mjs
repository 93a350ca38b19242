// What does `@modelcontextprotocol/sdk` 1.x see? (See README.md.)

import { answerers, require, run } from './steps.mjs';

const { Client } = require('@modelcontextprotocol/sdk/client/index.js');
const { StreamableHTTPClientTransport } = require('@modelcontextprotocol/sdk/client/streamableHttp.js');
const types = require('@modelcontextprotocol/sdk/types.js');

await run({
  sdk: 1,
  name: 'typescript-sdk-1',
  async connect({ given, seen, watched, headers }) {
    const client = new Client(
      { name: 'countersign-tests', version: '1.0.0' },
      { capabilities: { sampling: {}, elicitation: {}, roots: { listChanged: true } } },
    );
    const answer = answerers(given.answers, seen);
    client.setRequestHandler(types.ElicitRequestSchema, answer.elicit);
    client.setRequestHandler(types.CreateMessageRequestSchema, answer.sample);
    client.setRequestHandler(types.ListRootsRequestSchema, answer.roots);
    client.fallbackNotificationHandler = async (notification) => void seen.notifications.push(notification);
    const transport = new StreamableHTTPClientTransport(given.url, { fetch: watched.fetch, requestInit: { headers } });
    await client.connect(transport);
    return {
      client,
      protocol: () => transport.protocolVersion ?? null,
      /** The experimental tasks of 2025-11-25. */
      async byTask(params) {
        const statuses = [];
        for await (const message of client.experimental.tasks.callToolStream(params, undefined, { task: {} })) {
          if (message.type === 'error') throw message.error;
          if (message.type === 'result') return { statuses, answer: message.result };
          statuses.push(`${message.task.status}: ${message.task.statusMessage}`);
        }
      },
      async close() {
        await transport.terminateSession();
        await client.close();
      },
    };
  },
});
