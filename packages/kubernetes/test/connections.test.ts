// What happens to connections: they are used again after a whole answer, and closed with a request that is interrupted.
import { createServer, type ServerResponse } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import * as Effect from 'effect/Effect';
import * as Fiber from 'effect/Fiber';
import * as Stream from 'effect/Stream';
import { expect, it } from 'vitest';
import type { ApiClient, ApiClientOptions, ApiError } from '../src/index.js';
import { closing, connect } from './harness.js';

const closer = closing();
const get = (path: string) => ({ method: 'GET', path }) as const;

/** A server over plain HTTP that answers `/whole` at once, begins to answer `/lines`, and does not answer anything else. */
class Server {
  readonly open = new Set<Socket>();
  connections = 0;
  most = 0;
  readonly waiting: ServerResponse[] = [];
  readonly #server = createServer((request, response) => {
    if (request.url === '/whole') response.end('{}');
    else {
      if (request.url === '/lines') response.write('first\n');
      this.waiting.push(response);
    }
  }).on('connection', (socket) => {
    this.connections += 1;
    this.open.add(socket);
    this.most = Math.max(this.most, this.open.size);
    socket.on('close', () => this.open.delete(socket));
  });

  async client(options?: ApiClientOptions): Promise<ApiClient> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    closer.defer(() => {
      for (const socket of this.open) socket.destroy();
      this.#server.close();
    });
    const { port } = this.#server.address() as AddressInfo;
    const credentials = { headers: {}, tls: {} };
    const server = `http://127.0.0.1:${port}`;
    return connect(closer, { server, credentials: () => Promise.resolve(credentials), renew() {} }, options);
  }

  readonly asked = (count: number): Effect.Effect<void> =>
    Effect.promise(() => expect.poll(() => this.waiting).toHaveLength(count));
  readonly closed = (): Promise<void> => expect.poll(() => this.open.size).toBe(0);
}

it('is used again', async () => {
  const server = new Server();
  const client = await server.client();
  for (let count = 0; count < 20; count += 1) await Effect.runPromise(client.request(get('/whole')));
  expect(server.connections).toBe(1);
});

it('is closed with a request that is interrupted before the answer', async () => {
  const server = new Server();
  const client = await server.client();
  const program = Effect.gen(function* () {
    const asking = yield* Effect.forkChild(client.request(get('/waits')));
    yield* server.asked(1);
    yield* Fiber.interrupt(asking);
  });
  await Effect.runPromise(program);
  await server.closed();
});

it('is closed when the reader of lines stops, and when it is interrupted while it waits', async () => {
  const server = new Server();
  const client = await server.client();
  const first = Effect.scoped(Effect.flatMap(client.lines(get('/lines')), (lines) => Stream.runHead(lines)));
  expect(await Effect.runPromise(first)).toMatchObject({ value: 'first' });
  await server.closed();
  const program = Effect.gen(function* () {
    const following = yield* Effect.forkChild(
      Effect.scoped(Effect.flatMap(client.lines(get('/lines')), (lines) => Stream.runDrain(lines))),
    );
    yield* server.asked(2);
    yield* Fiber.interrupt(following);
  });
  await Effect.runPromise(program);
  await server.closed();
});

it('is closed when the server falls silent, before the answer or in it', async () => {
  const server = new Server();
  const client = await server.client({ silenceMs: 500 });
  const reason = async (program: Effect.Effect<unknown, ApiError>): Promise<string> =>
    (await Effect.runPromise(Effect.flip(program))).reason;
  expect(await reason(client.request(get('/waits')))).toBe('Silent');
  expect(await reason(client.request(get('/lines')))).toBe('Silent');
  expect(await reason(Effect.scoped(Effect.flatMap(client.lines(get('/lines')), Stream.runDrain)))).toBe('Silent');
  await server.closed();
});

it('is one of sixteen at most, and the requests beyond them wait their turn', async () => {
  const server = new Server();
  const client = await server.client();
  const program = Effect.gen(function* () {
    const asking = yield* Effect.forkChild(
      Effect.all(
        Array.from({ length: 40 }, () => client.request(get('/waits'))),
        { concurrency: 'unbounded' },
      ),
    );
    for (let answered = 0; answered < 40; answered += 1) {
      yield* server.asked(Math.min(16 + answered, 40));
      server.waiting[answered]?.end('{}');
    }
    yield* Fiber.join(asking);
  });
  await Effect.runPromise(program);
  expect(server.most).toBe(16);
});
