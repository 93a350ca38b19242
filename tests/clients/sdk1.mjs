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
      async close() {
        await transport.terminateSession();
        await client.close();
      },
    };
  },
});
