// What did the tools really get?
//
//   node upstream.mjs        prints `http://127.0.0.1:PORT`; MCP is at /mcp
//
// A server of tools on the official SDK, stateless. GET /calls lists the calls
// that reached it, which is how a test knows that something ran once, or not.

import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';

import { HOSTILE, HOSTILE_TOOLS } from './hostile.mjs';

const home = process.env.COUNTERSIGN_CLIENTS ?? path.resolve(import.meta.dirname, '../../target/clients');
const require = createRequire(path.join(home, 'package.json'));
const { Server } = require('@modelcontextprotocol/sdk/server/index.js');
const { StreamableHTTPServerTransport } = require('@modelcontextprotocol/sdk/server/streamableHttp.js');
const { CallToolRequestSchema, ListToolsRequestSchema } = require('@modelcontextprotocol/sdk/types.js');

const open = { type: 'object', additionalProperties: true };
const refund = {
  type: 'object',
  properties: { invoice: { type: 'integer' }, amount: { type: 'string' }, note: { type: 'string' } },
  required: ['invoice', 'amount'],
  additionalProperties: false,
};
const tools = [
  { name: 'refund', title: 'Refund an invoice', inputSchema: refund },
  { name: 'write', title: 'Write a document', inputSchema: open },
  { name: 'pair', title: 'Write a document, signed by two', inputSchema: open },
  { name: 'rewrite', title: 'Change a page', inputSchema: open },
  { name: 'configure', title: 'Change a setting', inputSchema: open },
  { name: 'page', title: 'Read a page', inputSchema: open },
  ...HOSTILE_TOOLS.map(({ name, title }) => ({ name, title, description: title, inputSchema: open })),
];
const calls = [];
const pages = {
  terms: { text: 'Pay in 30 days.\nNo refunds.\nWrite to us.\n' },
  // Text of others comes this way too.
  hostile: { text: `${HOSTILE['closed script'].text}\n${HOSTILE.bidi.text}\n` },
  limits: { value: { daily: 100, currency: 'USD', who: ['ann', 'bob'] } },
};

function serving() {
  const server = new Server({ name: 'browser-tests', version: '1' }, { capabilities: { tools: {} } });
  server.setRequestHandler(ListToolsRequestSchema, () => ({ tools }));
  server.setRequestHandler(CallToolRequestSchema, ({ params }) => {
    calls.push({ name: params.name, arguments: params.arguments });
    if (params.name === 'page') return { content: [], structuredContent: pages[params.arguments.name] ?? {} };
    return { content: [{ type: 'text', text: `${params.name} did it, call ${calls.length}` }] };
  });
  return server;
}

const listener = createServer(async (request, response) => {
  if (request.url === '/calls') return response.end(JSON.stringify(calls));
  const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined, enableJsonResponse: true });
  response.on('close', () => transport.close());
  await serving().connect(transport);
  await transport.handleRequest(request, response);
});
listener.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${listener.address().port}`));
