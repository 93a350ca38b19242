// What does an agent send, and what does it get?
//
// MCP of 2025-06-18 over plain `fetch`, so that a held call's answer is seen as
// it comes, without an SDK's own time-outs and retries.

/** A session with the gate. `call` waits for the answer; `claim` is what the agent says of its call. */
export async function agent({ url, token }) {
  const headers = {
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
    ...(token && { authorization: `Bearer ${token}` }),
  };
  let next = 0;
  const hungUp = new AbortController();
  const post = (message) =>
    fetch(url, { method: 'POST', headers, body: JSON.stringify({ jsonrpc: '2.0', ...message }), signal: hungUp.signal });
  const ask = async (method, params) => {
    const id = ++next;
    const response = await post({ id, method, params });
    const text = await response.text();
    const answer = messages(response, text).find((message) => message.id === id);
    if (!answer) throw new Error(`no answer to ${method}: ${response.status} ${text.slice(0, 500)}`);
    return { response, answer };
  };

  const clientInfo = { name: 'countersign-browser-tests', version: '1' };
  const hello = await ask('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo });
  if (hello.answer.error) throw new Error(`not let in: ${JSON.stringify(hello.answer.error)}`);
  headers['mcp-protocol-version'] = hello.answer.result.protocolVersion;
  const session = hello.response.headers.get('mcp-session-id');
  if (session) headers['mcp-session-id'] = session;
  await post({ method: 'notifications/initialized' });

  return {
    async tools() {
      return (await ask('tools/list', {})).answer.result.tools.map(({ name }) => name);
    },
    /** The answer: `{result}` or `{error}`. A hang-up is `{gone: true}`, not a failure. */
    async call(name, args, claim) {
      const _meta = claim && { 'io.countersign/claim': claim };
      try {
        return (await ask('tools/call', { name, arguments: args, ...(_meta && { _meta }) })).answer;
      } catch (error) {
        if (hungUp.signal.aborted) return { gone: true };
        throw error;
      }
    },
    hangUp: () => hungUp.abort(),
  };
}

/** All that an answer told an agent, for a test that looks for words in it. */
export const told = ({ result, error }) =>
  JSON.stringify(error ?? { content: result?.content, meta: result?._meta, isError: result?.isError ?? false });

function messages(response, text) {
  if (!response.headers.get('content-type')?.startsWith('text/event-stream')) {
    return text ? [JSON.parse(text)].flat() : [];
  }
  const data = (event) => event.split(/\r?\n/).filter((line) => line.startsWith('data:')).map((line) => line.slice(5)).join('\n');
  return text.split(/\r?\n\r?\n/).map(data).filter((each) => each.trim()).map((each) => JSON.parse(each)).flat();
}
