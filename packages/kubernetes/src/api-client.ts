// Requests to an API server over HTTP/1.1, with whole answers or answers that arrive line by line.
import { createHash } from 'node:crypto';
import {
  Agent as HttpAgent,
  request as httpRequest,
  type ClientRequest,
  type IncomingMessage,
  type RequestOptions,
} from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import * as Deferred from 'effect/Deferred';
import * as Effect from 'effect/Effect';
import type * as Scope from 'effect/Scope';
import * as Stream from 'effect/Stream';
import type { ApiAccess, Credentials } from './access.js';
import { ApiError, statusError, wordsOf } from './api-error.js';
import { lines } from './lines.js';

export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export interface ApiRequest {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly query?: Query;
  readonly body?: unknown;
  /** `application/json` by default. */
  readonly contentType?: string;
  /** The longest time without a byte from the server, in milliseconds. */
  readonly silenceMs?: number;
}

export interface ApiClientOptions {
  /** The default for requests. The API server itself gives up after 60 s (--request-timeout). */
  readonly silenceMs?: number;
  readonly userAgent?: string;
}

/** The largest whole answer that is accepted, in bytes: 5000 namespaces in one list are about 5 MB. */
const LARGEST_BODY = 256 * 1024 * 1024;
/** The longest line of a watch, in bytes: etcd holds objects of up to 1.5 MiB, and JSON makes them longer. */
const LONGEST_LINE = 16 * 1024 * 1024;
/** Further requests wait: when all pods of a full node change at once, the server must not get all requests at once. */
const MOST_CONNECTIONS = 16;
/** The largest explanation of an error that is read, in bytes. */
const LARGEST_EXPLANATION = 64 * 1024;

export class ApiClient {
  readonly #access: ApiAccess;
  readonly #silenceMs: number;
  readonly #userAgent: string;
  #agent: { key: string; agent: HttpAgent } | undefined;

  private constructor(access: ApiAccess, options: ApiClientOptions) {
    this.#access = access;
    this.#silenceMs = options.silenceMs ?? 65_000;
    this.#userAgent = options.userAgent ?? 'sluice';
  }

  /** The connections are closed with the scope. */
  static readonly open = (
    access: ApiAccess,
    options: ApiClientOptions = {},
  ): Effect.Effect<ApiClient, never, Scope.Scope> =>
    Effect.acquireRelease(
      Effect.sync(() => new ApiClient(access, options)),
      (client) => Effect.sync(() => client.#agent?.agent.destroy()),
    );

  get server(): string {
    return this.#access.server;
  }

  /** Succeeds with the parsed body of an answer of 2xx. Interruption ends the request. */
  readonly request = (request: ApiRequest): Effect.Effect<unknown, ApiError> =>
    this.#open(request).pipe(
      Effect.flatMap((response) => textOf(response, LARGEST_BODY, request)),
      Effect.scoped,
      Effect.flatMap((text) =>
        Effect.try({
          try: () => JSON.parse(text) as unknown,
          catch: (cause) => garbled(request, 'the answer is not JSON', cause),
        }),
      ),
    );

  /**
   * Succeeds when the head of an answer of 2xx has arrived, with a stream of its lines. The stream ends when the server ends the
   * answer, and fails when the answer breaks off. The connection is closed with the scope.
   */
  readonly lines = (request: ApiRequest): Effect.Effect<Stream.Stream<string, ApiError>, ApiError, Scope.Scope> =>
    Effect.map(this.#open(request), (response) =>
      lines(
        Stream.fromAsyncIterable(response, (cause) => failed('Unreachable', request, cause)),
        LONGEST_LINE,
        () => garbled(request, `a line is longer than ${LONGEST_LINE} bytes`),
      ),
    );

  /** Sends a request, and succeeds when the head of an answer of 2xx has arrived. */
  readonly #open = Effect.fnUntraced(function* (
    this: ApiClient,
    request: ApiRequest,
  ): Effect.fn.Return<AsyncIterable<Buffer>, ApiError, Scope.Scope> {
    const credentials = yield* Effect.tryPromise({
      try: () => this.#access.credentials(),
      catch: (cause) => failed('Credentials', request, cause),
    });
    const head = yield* Deferred.make<IncomingMessage, ApiError>();
    yield* Effect.acquireRelease(
      Effect.try({
        try: () =>
          this.#send(request, credentials)
            .on('response', (response) => Deferred.doneUnsafe(head, Effect.succeed(response)))
            .on('error', (cause) => Deferred.doneUnsafe(head, failed('Unreachable', request, cause))),
        catch: (cause) => failed('Unreachable', request, cause),
      }),
      // A connection whose answer was read in full no longer belongs to the request, and stays open.
      (sent) => Effect.sync(() => sent.destroy()),
    );
    const response = yield* Deferred.await(head);
    const code = response.statusCode ?? 0;
    if (code >= 200 && code < 300) return response;
    if (code === 401) this.#access.renew();
    const text = yield* textOf(response, LARGEST_EXPLANATION, request);
    return yield* statusError(what(request), code, text, response.headers['retry-after']);
  });

  #send(request: ApiRequest, credentials: Credentials): ClientRequest {
    const { method, path, query = {}, body, contentType = 'application/json', silenceMs = this.#silenceMs } = request;
    const url = urlOf(this.#access.server, path, query);
    const text = body === undefined ? undefined : JSON.stringify(body);
    const options: RequestOptions = {
      method,
      agent: credentials.proxy ?? this.#agentFor(url, credentials),
      headers: {
        accept: 'application/json',
        'user-agent': this.#userAgent,
        ...credentials.headers,
        ...(text !== undefined && { 'content-type': contentType, 'content-length': Buffer.byteLength(text) }),
      },
    };
    const sent = url.protocol === 'https:' ? httpsRequest(url, options) : httpRequest(url, options);
    let answer: IncomingMessage | undefined;
    // The socket's own timer covers neither the time to connect nor the time in the agent's queue. This one is Node's and not
    // Effect's: every chunk moves it, and an Effect timeout around each chunk cost as much as the request itself.
    const timer = setTimeout(() => {
      const message = `the server sent nothing for ${silenceMs / 1000} s`;
      (answer ?? sent).destroy(new ApiError(what(request), { reason: 'Silent', message }));
    }, silenceMs);
    const heard = (): void => void timer.refresh();
    sent.on('response', (response) => {
      heard();
      answer = response;
      // The answer loses its socket when the pool takes it back.
      const { socket } = response.on('close', () => socket.off('data', heard));
      socket.on('data', heard);
    });
    sent.on('close', () => clearTimeout(timer));
    sent.end(text);
    return sent;
  }

  /** There is one pool of connections while the TLS material stays the same; new material ends the old connections. */
  #agentFor(url: URL, { tls }: Credentials): HttpAgent {
    const digest = createHash('sha256');
    for (const part of [tls.ca, tls.cert, tls.key, tls.servername, String(tls.rejectUnauthorized)])
      digest.update(part ?? '').update('\0');
    const key = digest.digest('hex');
    if (this.#agent?.key === key) return this.#agent.agent;
    this.#agent?.agent.destroy();
    // Keep-alive probes after 30 s, as in client-go, let idle watches survive load balancers.
    const pool = { keepAlive: true, keepAliveMsecs: 30_000, maxFreeSockets: 2, maxSockets: MOST_CONNECTIONS };
    const agent = url.protocol === 'https:' ? new HttpsAgent({ ...pool, ...tls }) : new HttpAgent(pool);
    this.#agent = { key, agent };
    return agent;
  }
}

const textOf = (chunks: AsyncIterable<Buffer>, limit: number, request: ApiRequest): Effect.Effect<string, ApiError> =>
  Effect.tryPromise({
    try: async () => {
      const taken: Buffer[] = [];
      let size = 0;
      for await (const chunk of chunks) {
        size += chunk.length;
        if (size > limit) throw garbled(request, `the answer is longer than ${limit} bytes`);
        taken.push(chunk);
      }
      return Buffer.concat(taken).toString('utf8');
    },
    catch: (cause) => failed('Unreachable', request, cause),
  });

function urlOf(server: string, path: string, query: Query): URL {
  const url = new URL(server.replace(/\/+$/, '') + path);
  for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, String(value));
  return url;
}

function what({ method, path, query }: ApiRequest): string {
  return `${query?.['watch'] === true ? 'WATCH' : method} ${path}`;
}

function garbled(request: ApiRequest, message: string, cause?: unknown): ApiError {
  return new ApiError(what(request), { reason: 'Garbled', message, cause });
}

/** Turns an error of Node into an ApiError, and leaves an ApiError as it is. */
function failed(reason: 'Unreachable' | 'Credentials', request: ApiRequest, cause: unknown): ApiError {
  if (cause instanceof ApiError) return cause;
  const message = wordsOf(cause);
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  const suffix = message.includes(code) ? '' : ` (${code})`;
  return new ApiError(what(request), { reason, message: `${message}${suffix}`, cause });
}
