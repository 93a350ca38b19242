// What does `@modelcontextprotocol/client` 2.x see? (See README.md.)

import { answerers, require, run } from './steps.mjs';
import { byTask } from './tasks.mjs';

const { Client, StreamableHTTPClientTransport } = require('@modelcontextprotocol/client');

await run({
  sdk: 2,
  name: 'typescript-client-2',
  async connect({ given, seen, watched, headers }) {
    const mode = ['auto', 'legacy'].includes(given.mode) ? given.mode : { pin: given.mode };
    const client = new Client(
      { name: 'countersign-tests', version: '1.0.0' },
      {
        capabilities: { sampling: {}, elicitation: {}, roots: { listChanged: true }, extensions: given.extensions },
        versionNegotiation: { mode },
      },
    );
    const answer = answerers(given.answers, seen);
    client.setRequestHandler('elicitation/create', answer.elicit);
    client.setRequestHandler('sampling/createMessage', answer.sample);
    client.setRequestHandler('roots/list', answer.roots);
    client.fallbackNotificationHandler = async (notification) => void seen.notifications.push(notification);
    const transport = new StreamableHTTPClientTransport(given.url, { fetch: watched.fetch, requestInit: { headers } });
    await client.connect(transport);
    return {
      client,
      protocol: () => client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion ?? null,
      byTask: (params) => byTask(client, { url: given.url, headers, fetch: watched.fetch, params }),
      async close() {
        await transport.terminateSession().catch(() => {});
        await client.close();
      },
    };
  },
});
