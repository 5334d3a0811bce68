// Requests to an API server over HTTP/1.1: whole answers, and answers that go on line by line.
import { createHash } from 'node:crypto';
import {
  Agent as HttpAgent,
  request as httpRequest,
  type ClientRequest,
  type IncomingMessage,
  type RequestOptions,
} from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { ApiAccess, Credentials } from './access.js';
import { ApiError, statusError } from './api-error.js';
import { lines } from './lines.js';

export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export interface ApiRequest {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly query?: Query;
  readonly body?: unknown;
  /** `application/json` by default. */
  readonly contentType?: string;
  readonly signal?: AbortSignal;
  /** The longest time without a byte from the server, in milliseconds. */
  readonly silenceMs?: number;
}

export interface ApiClientOptions {
  /** For requests that say nothing else. The API server itself gives up after 60 s (--request-timeout). */
  readonly silenceMs?: number;
  readonly userAgent?: string;
}

/** The largest whole answer that is taken in, in bytes: 5000 namespaces in one list are about 5 MB. */
const LARGEST_BODY = 256 * 1024 * 1024;
/** The longest line of a watch, in bytes: etcd holds objects of up to 1.5 MiB, and JSON makes them longer. */
const LONGEST_LINE = 16 * 1024 * 1024;
/** What is more waits for its turn: a node full of pods that change at once must not come down on the server at once. */
const MOST_CONNECTIONS = 16;
/** Of the answers that explain an error. */
const LARGEST_EXPLANATION = 64 * 1024;

export class ApiClient {
  readonly #access: ApiAccess;
  readonly #silenceMs: number;
  readonly #userAgent: string;
  readonly #active = new Set<ClientRequest>();
  #isClosed = false;
  #agent: { key: string; agent: HttpAgent } | undefined;

  constructor(access: ApiAccess, options: ApiClientOptions = {}) {
    this.#access = access;
    this.#silenceMs = options.silenceMs ?? 65_000;
    this.#userAgent = options.userAgent ?? 'sluice';
  }

  get server(): string {
    return this.#access.server;
  }

  /** The parsed body of an answer of 2xx. @throws ApiError */
  async request(request: ApiRequest): Promise<unknown> {
    const response = await this.#open(request);
    const text = await this.#bodyOf(response, LARGEST_BODY, request);
    try {
      return JSON.parse(text) as unknown;
    } catch (cause) {
      throw garbled(request, 'the answer is not JSON', cause);
    }
  }

  /**
   * The lines of an answer of 2xx, as they come. Ends when the server ends it; throws ApiError when it breaks off.
   * Leaving the loop closes the connection. `onOpen` is called when the head of the answer is there.
   */
  async *lines(request: ApiRequest, onOpen: () => void = () => {}): AsyncGenerator<string, void, undefined> {
    const response = await this.#open(request);
    onOpen();
    try {
      yield* lines(response, LONGEST_LINE);
    } catch (cause) {
      throw this.#broken(request, cause);
    } finally {
      response.destroy();
    }
  }

  /** Ends all requests and closes all connections. Idempotent. */
  close(): void {
    this.#isClosed = true;
    for (const request of this.#active) request.destroy();
    this.#agent?.agent.destroy();
    this.#agent = undefined;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** The head of an answer of 2xx; the body has the silence timer on it. */
  async #open(request: ApiRequest): Promise<IncomingMessage> {
    const credentials = await this.#access.credentials();
    if (this.#isClosed) throw new ApiError(what(request), { reason: 'Closed', message: 'this client was closed' });
    const response = await this.#send(request, credentials);
    const code = response.statusCode ?? 0;
    if (code >= 200 && code < 300) return response;
    if (code === 401) this.#access.renew();
    const retryAfter = response.headers['retry-after'];
    const text = await this.#bodyOf(response, LARGEST_EXPLANATION, request);
    throw statusError(what(request), code, text, retryAfter);
  }

  #send(request: ApiRequest, credentials: Credentials): Promise<IncomingMessage> {
    const { method, path, query = {}, body, contentType = 'application/json', silenceMs = this.#silenceMs } = request;
    const url = urlOf(this.#access.server, path, query);
    const text = body === undefined ? undefined : JSON.stringify(body);
    const options: RequestOptions = {
      method,
      agent: credentials.proxy ?? this.#agentFor(url, credentials),
      ...(request.signal && { signal: request.signal }),
      headers: {
        accept: 'application/json',
        'user-agent': this.#userAgent,
        ...credentials.headers,
        ...(text !== undefined && { 'content-type': contentType, 'content-length': Buffer.byteLength(text) }),
      },
    };
    return new Promise((resolve, reject) => {
      const sent = url.protocol === 'https:' ? httpsRequest(url, options) : httpRequest(url, options);
      this.#active.add(sent);
      let response: IncomingMessage | undefined;
      // A timer of our own: the socket's covers neither the time to connect nor the time in the agent's queue.
      const timer = setTimeout(() => {
        const error = new ApiError(what(request), {
          reason: 'Silent',
          message: `nothing came from the server for ${silenceMs / 1000} s`,
        });
        response?.destroy(error);
        sent.destroy(error);
      }, silenceMs);
      sent.on('response', (head) => {
        response = head;
        timer.refresh();
        // The answer loses its socket when the pool takes it back.
        const { socket } = head;
        socket.on('data', refresh);
        head.on('close', () => socket.off('data', refresh));
        resolve(head);
      });
      const refresh = (): void => {
        timer.refresh();
      };
      sent.on('error', (cause) => reject(this.#broken(request, cause)));
      sent.on('close', () => {
        clearTimeout(timer);
        this.#active.delete(sent);
      });
      sent.end(text);
    });
  }

  /** One pool of connections for as long as the TLS material is the same; new material ends the old connections. */
  #agentFor(url: URL, { tls }: Credentials): HttpAgent {
    const digest = createHash('sha256');
    for (const part of [tls.ca, tls.cert, tls.key, tls.servername, String(tls.rejectUnauthorized)])
      digest.update(part ?? '').update('\0');
    const key = digest.digest('hex');
    if (this.#agent?.key === key) return this.#agent.agent;
    this.#agent?.agent.destroy();
    // Keep-alive probes after 30 s, as client-go: idle watches are to survive load balancers.
    const pool = { keepAlive: true, keepAliveMsecs: 30_000, maxFreeSockets: 2, maxSockets: MOST_CONNECTIONS };
    const agent = url.protocol === 'https:' ? new HttpsAgent({ ...pool, ...tls }) : new HttpAgent(pool);
    this.#agent = { key, agent };
    return agent;
  }

  async #bodyOf(response: IncomingMessage, limit: number, request: ApiRequest): Promise<string> {
    const chunks: Buffer[] = [];
    let size = 0;
    try {
      for await (const chunk of response as AsyncIterable<Buffer>) {
        size += chunk.length;
        if (size > limit) throw garbled(request, `the answer is longer than ${limit} bytes`);
        chunks.push(chunk);
      }
    } catch (cause) {
      throw this.#broken(request, cause);
    }
    return Buffer.concat(chunks).toString('utf8');
  }

  /** What an error of Node's means. Whatever breaks after we have ended the request was ended by us. */
  #broken(request: ApiRequest, cause: unknown): ApiError {
    if (cause instanceof ApiError) return cause;
    if (this.#isClosed || request.signal?.aborted === true)
      return new ApiError(what(request), { reason: 'Closed', message: 'the request was abandoned', cause });
    const { message, code } = cause as NodeJS.ErrnoException;
    const suffix = code === undefined || message.includes(code) ? '' : ` (${code})`;
    return new ApiError(what(request), { reason: 'Unreachable', message: `${message}${suffix}`, cause });
  }
}

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
