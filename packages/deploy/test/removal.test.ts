// The uninstall hook against a server that answers as an API server does: deletion in the foreground, pods that end
// slowly, an API server that is unreachable for a moment, and refusals.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { removeDaemonSet, type RemovalOptions } from '../src/index.js';

type Answer = { status: number; pods?: number } | 'drop';

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

/** A server that gives the answers in turn, and repeats the last one; it records the requests. */
async function api(answers: readonly Answer[]) {
  const asked: { method: string; url: string; token: string; body: string }[] = [];
  let at = 0;
  const answer = (request: IncomingMessage, response: ServerResponse, body: string): void => {
    const { method = '', url = '', headers } = request;
    asked.push({ method, url, token: headers.authorization ?? '', body });
    const next = answers[Math.min(at++, answers.length - 1)] ?? 'drop';
    if (next === 'drop') return void request.socket.destroy();
    response.writeHead(next.status, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ status: { currentNumberScheduled: next.pods } }));
  };
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => answer(request, response, body));
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const options: RemovalOptions = {
    server: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    token: 'secret',
    namespace: 'istio-system',
    name: 'sluice-node',
    timeoutMs: 60_000,
    pollMs: 5,
  };
  return { asked, options };
}

describe('removeDaemonSet', () => {
  it('deletes in the foreground, once, and waits until the object is gone', async () => {
    const { asked, options } = await api([{ status: 200, pods: 3 }, { status: 200, pods: 1 }, { status: 404 }]);
    const lines: string[] = [];
    expect(await removeDaemonSet({ ...options, say: (line) => lines.push(line) })).toEqual({ outcome: 'gone' });
    expect(asked.map(({ method }) => method)).toEqual(['DELETE', 'GET', 'GET']);
    expect(new Set(asked.map(({ url }) => url))).toEqual(
      new Set(['/apis/apps/v1/namespaces/istio-system/daemonsets/sluice-node']),
    );
    expect(JSON.parse(asked[0]?.body ?? '')).toMatchObject({ propagationPolicy: 'Foreground' });
    expect(asked[0]?.token).toBe('Bearer secret');
    expect(lines.join('\n')).toContain('still run: 3');
  });

  it('ends at once if there is no DaemonSet', async () => {
    const { options } = await api([{ status: 404 }]);
    expect(await removeDaemonSet(options)).toEqual({ outcome: 'gone' });
  });

  it('tries again after a passing failure: a cut connection, 429, 5xx', async () => {
    const { asked, options } = await api([
      'drop',
      { status: 503 },
      { status: 200 },
      { status: 429 },
      'drop',
      { status: 404 },
    ]);
    expect(await removeDaemonSet(options)).toEqual({ outcome: 'gone' });
    expect(asked.map(({ method }) => method)).toEqual(['DELETE', 'DELETE', 'DELETE', 'GET', 'GET', 'GET']);
  });

  it('reports what the API server refuses', async () => {
    const { options } = await api([{ status: 403 }]);
    await expect(removeDaemonSet(options)).rejects.toThrow('answered 403');
  });

  it('ends when its time is over, and says how many agents are left', async () => {
    const { options } = await api([{ status: 200, pods: 2 }]);
    expect(await removeDaemonSet({ ...options, timeoutMs: 1 })).toEqual({ outcome: 'left', nodes: 2 });
  });
});
