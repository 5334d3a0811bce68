// The Kubernetes API double: real HTTPS on loopback, in this process. What it knows of Kubernetes is in the files beside.
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { isAllowed, type User } from './authorization.js';
import { selfSignedCertificate, type Certificate } from './certificate.js';
import { Faults, type Fault } from './faults.js';
import { list, selection } from './lists.js';
import { mergePatch } from './merge-patch.js';
import { ObjectStore, type ObjectTemplate } from './object-store.js';
import { parsePath, resourceOf, type ApiObject, type Target } from './resources.js';
import { onlyName } from './selectors.js';
import {
  badRequest,
  forbidden,
  methodNotAllowed,
  noSuchPath,
  notFound,
  Refusal,
  serverError,
  tooOldResourceVersion,
  unauthorized,
  unsupportedMediaType,
} from './status.js';
import { WatchStream } from './watch-stream.js';
import { create, patch, remove } from './writes.js';

export interface KubernetesApiOptions {
  /** 0 takes a free one. */
  readonly port?: number;
  /** Real servers send one a minute. */
  readonly bookmarkEveryMs?: number;
}

/** A request that was answered, for assertions. `code` is 0 when a fault ate the answer. */
export interface AnsweredRequest {
  readonly user: string;
  readonly verb: string;
  /** `pods`, `pods/status` */
  readonly resource: string;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly code: number;
  readonly query: URLSearchParams;
}

/** When a client asks for no `timeoutSeconds`: the API server's --min-request-timeout. */
const DEFAULT_WATCH_MS = 1_800_000;

export class KubernetesApi {
  readonly faults = new Faults();
  /** The token of someone who may do everything. */
  readonly adminToken = 'admin';
  readonly requests: AnsweredRequest[] = [];
  /** Milliseconds; undefined withholds bookmarks from watches that begin from now on. */
  bookmarkEveryMs: number | undefined;
  readonly #store = new ObjectStore();
  readonly #users = new Map<string, User>();
  readonly #watches = new Set<WatchStream>();
  readonly #sockets = new Set<Socket>();
  readonly #certificate: Certificate;
  #server: Server | undefined;
  #port: number;

  private constructor(options: KubernetesApiOptions, certificate: Certificate) {
    this.#port = options.port ?? 0;
    this.bookmarkEveryMs = options.bookmarkEveryMs ?? 60_000;
    this.#certificate = certificate;
    this.#users.set(this.adminToken, { name: 'system:admin' });
  }

  static async start(options: KubernetesApiOptions = {}): Promise<KubernetesApi> {
    const api = new KubernetesApi(options, selfSignedCertificate('kubernetes'));
    for (const name of ['default', 'kube-system'])
      api.create('Namespace', {
        metadata: { name, labels: { 'kubernetes.io/metadata.name': name } },
        status: { phase: 'Active' },
      });
    await api.back();
    return api;
  }

  get url(): string {
    return `https://127.0.0.1:${this.#port}`;
  }

  /** PEM; what a service account has as ca.crt. */
  get ca(): string {
    return this.#certificate.certificate;
  }

  /** The revision of the last change. */
  get resourceVersion(): string {
    return String(this.#store.revision);
  }

  get watches(): readonly WatchStream[] {
    return [...this.#watches];
  }

  /** From now on the token is this user. */
  allow(token: string, user: User): void {
    this.#users.set(token, user);
  }

  /** From now on the token gets 401, as one that has expired. */
  revoke(token: string): void {
    this.#users.delete(token);
  }

  /** As JSON, which is YAML. */
  kubeconfig(token: string = this.adminToken): string {
    const named = { name: 'double' };
    return JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'double',
      clusters: [
        {
          ...named,
          cluster: { server: this.url, 'certificate-authority-data': Buffer.from(this.ca).toString('base64') },
        },
      ],
      users: [{ ...named, user: { token } }],
      contexts: [{ ...named, context: { cluster: 'double', user: 'double' } }],
    });
  }

  /** Makes an object past the HTTP side, its status and uid as given. */
  create(kind: string, template: ObjectTemplate): ApiObject {
    return this.#store.create(resourceOf(kind), template);
  }

  /** Changes any part of an object by a merge patch. */
  patch(kind: string, at: { namespace?: string; name: string }, body: unknown): ApiObject {
    const before = this.get(kind, at);
    if (before === undefined) throw new Refusal(notFound(resourceOf(kind), at.name));
    return this.#store.update(resourceOf(kind), before, mergePatch(before, body) as ApiObject);
  }

  /** Deletes at once, with no grace. */
  remove(kind: string, at: { namespace?: string; name: string }): void {
    this.#store.delete(resourceOf(kind), at.namespace, at.name);
  }

  get(kind: string, at: { namespace?: string; name: string }): ApiObject | undefined {
    return this.#store.get(resourceOf(kind), at.namespace, at.name);
  }

  list(kind: string): ApiObject[] {
    return this.#store.list(resourceOf(kind));
  }

  /** Forgets the history: watches and continued lists from before get 410. */
  compact(): void {
    this.#store.compact();
  }

  /** The port is closed and every connection cut, until `back`. */
  async away(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    const closed = once(server, 'close');
    server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  /** On the same port. */
  async back(): Promise<void> {
    if (this.#server !== undefined) return;
    const { certificate: cert, key } = this.#certificate;
    const server = createServer({ cert, key, keepAliveTimeout: 120_000 }, (request, response) => {
      void this.#answer(request, response);
    });
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('error', () => {}); // the client's doing
    });
    server.on('tlsClientError', () => {});
    server.listen(this.#port, '127.0.0.1');
    await once(server, 'listening');
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  async close(): Promise<void> {
    await this.away();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => {});
    const url = new URL(request.url ?? '/', this.url);
    const target = parsePath(url.pathname);
    const verb = verbOf(request.method ?? '', target, url.searchParams);
    const record = (code: number, user: string): void => {
      this.requests.push({
        user,
        verb,
        resource: target === undefined ? url.pathname : resourceName(target),
        namespace: target?.namespace,
        name: target?.name,
        code,
        query: url.searchParams,
      });
    };
    let user = 'system:anonymous';
    try {
      const body = await bodyOf(request);
      const known = this.#users.get(/^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '');
      if (known === undefined) throw new Refusal(unauthorized());
      user = known.name;
      if (target === undefined) throw new Refusal(noSuchPath());
      authorize(known, verb, target, url.searchParams);
      const fault = this.faults.take({
        verb,
        resource: resourceName(target),
        continued: url.searchParams.has('continue'),
      });
      if (fault !== undefined && !(await this.#misbehave(fault, verb, response))) return record(0, user);
      if (verb === 'watch') this.#watch(target, url.searchParams, response, fault);
      else send(response, ...this.#serve(verb, target, url.searchParams, request, body));
      record(response.statusCode, user);
    } catch (error) {
      if (request.destroyed && !request.complete) return; // the client has gone away in the middle of its body
      if (!(error instanceof Refusal)) throw error;
      record(error.status.code, user);
      send(response, error.status.code, error.status, error.headers);
    }
  }

  #serve(
    verb: string,
    target: Target,
    query: URLSearchParams,
    request: IncomingMessage,
    body: Record<string, unknown>,
  ): [code: number, body: unknown] {
    const { name } = target;
    if (verb === 'list') return [200, list(this.#store, target, query)];
    if (verb === 'create') return [201, create(this.#store, target, body)];
    if (name === undefined) throw new Refusal(methodNotAllowed());
    switch (verb) {
      case 'get': {
        const object = this.#store.get(target.resource, target.namespace, name);
        if (object === undefined) throw new Refusal(notFound(target.resource, name));
        return [200, object];
      }
      case 'patch':
        if (request.headers['content-type'] !== 'application/merge-patch+json')
          throw new Refusal(unsupportedMediaType('application/merge-patch+json'));
        return [200, patch(this.#store, { ...target, name }, body)];
      case 'delete':
        return [200, remove(this.#store, { ...target, name }, body, query)];
      default:
        throw new Refusal(methodNotAllowed());
    }
  }

  #watch(target: Target, query: URLSearchParams, response: ServerResponse, fault: Fault | undefined): void {
    const asked = query.get('resourceVersion') ?? '';
    const from = asked === '' || asked === '0' ? this.#store.revision : Number(asked);
    if (!Number.isSafeInteger(from)) throw new Refusal(badRequest(`invalid resource version: ${asked}`));
    if (from < this.#store.compactedTo)
      throw new Refusal(tooOldResourceVersion(asked, String(this.#store.compactedTo)));
    const seconds = Number(query.get('timeoutSeconds') ?? '0');
    const watch = new WatchStream(
      this.#store,
      response,
      {
        resource: target.resource,
        from,
        matches: selection(target, query),
        timeoutMs: seconds > 0 ? seconds * 1000 : DEFAULT_WATCH_MS,
        bookmarkEveryMs: query.get('allowWatchBookmarks') === 'true' ? this.bookmarkEveryMs : undefined,
      },
      () => this.#watches.delete(watch),
    );
    this.#watches.add(watch);
    if (fault?.kind === 'duplicates') watch.duplicate(fault.count);
    if (fault?.kind === 'garbage') watch.garbage();
    if (fault?.kind === 'end') watch.end();
    if (fault?.kind === 'gone') watch.gone();
  }

  /** True when the request is to be served all the same. */
  async #misbehave(fault: Fault, verb: string, response: ServerResponse): Promise<boolean> {
    switch (fault.kind) {
      case 'silence':
        return false;
      case 'slow':
        await new Promise((resolve) => setTimeout(resolve, fault.delayMs));
        return true;
      case 'drop':
        dropAfter(response, fault.afterBytes);
        return true;
      case 'status':
        throw new Refusal(
          serverError(fault.code),
          fault.retryAfterSeconds === undefined ? {} : { 'retry-after': String(fault.retryAfterSeconds) },
        );
      case 'gone':
        if (fault.how === 'http' || verb !== 'watch')
          throw new Refusal(tooOldResourceVersion('1', String(this.#store.revision)));
        return true;
      case 'garbage':
        if (verb === 'watch') return true;
        response.writeHead(200, { 'content-type': 'application/json' }).end('{"kind":"PodList","items":[{"metad');
        return false;
      default:
        return true;
    }
  }
}

function resourceName({ resource, subresource }: Target): string {
  return subresource === undefined ? resource.plural : `${resource.plural}/${subresource}`;
}

/** endpoints/request/requestinfo.go */
function verbOf(method: string, target: Target | undefined, query: URLSearchParams): string {
  const verbs: Readonly<Record<string, string>> = { POST: 'create', PATCH: 'patch', PUT: 'update', DELETE: 'delete' };
  if (method !== 'GET')
    return target?.name === undefined && method === 'DELETE' ? 'deletecollection' : (verbs[method] ?? method);
  if (target?.name !== undefined) return 'get';
  return ['true', '1'].includes(query.get('watch') ?? '') ? 'watch' : 'list';
}

function authorize(user: User, verb: string, target: Target, query: URLSearchParams): void {
  const { resource, subresource } = target;
  const name =
    target.name ?? (['list', 'watch'].includes(verb) ? onlyName(query.get('fieldSelector') ?? '') : undefined);
  // A request for one namespace is a request in it.
  const namespace = resource.plural === 'namespaces' ? name : target.namespace;
  if (!isAllowed(user, { verb, resource, subresource, namespace, name }))
    throw new Refusal(forbidden(user.name, verb, resource, { namespace, name, subresource }));
}

async function bodyOf(request: IncomingMessage): Promise<Record<string, unknown>> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  if (chunks.length === 0) return {};
  try {
    return JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>;
  } catch {
    throw new Refusal(badRequest('the object provided is unrecognized (must be of type Status): invalid character'));
  }
}

function send(
  response: ServerResponse,
  code: number,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(code, { 'content-type': 'application/json', ...headers }).end(`${JSON.stringify(body)}\n`);
}

/** Cuts the connection when so many bytes of plain text have been written to it. */
function dropAfter(response: ServerResponse, bytes: number): void {
  const { socket } = response;
  if (socket === null) return;
  const write = socket.write.bind(socket) as (chunk: Buffer, done?: () => void) => boolean;
  let left = bytes;
  socket.write = ((chunk: string | Uint8Array, encoding?: unknown) => {
    const data =
      typeof chunk === 'string'
        ? Buffer.from(chunk, typeof encoding === 'string' ? (encoding as BufferEncoding) : 'utf8')
        : Buffer.from(chunk);
    if (data.length < left) {
      left -= data.length;
      return write(data);
    }
    const rest = data.subarray(0, left);
    left = 0;
    if (rest.length === 0) socket.destroy();
    else write(rest, () => socket.destroy());
    return false;
  }) as typeof socket.write;
}
