// The Kubernetes API double: real HTTPS on loopback, in this process. The files beside it have what it knows about Kubernetes.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { User } from './authorization.js';
import { selfSignedCertificate, type Certificate } from './certificate.js';
import { Faults, type Fault } from './faults.js';
import { cutAfter, HttpsPort } from './https-port.js';
import { kubeconfigOf } from './kubeconfig.js';
import { list, selection } from './lists.js';
import { ObjectStore } from './object-store.js';
import { authorize, bodyOf, parseRequest, type ParsedRequest } from './request.js';
import { resourceOf, type ApiObject, type ObjectPlace, type ObjectTemplate, type Target } from './resources.js';
import {
  badRequest,
  internalError,
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
import { create, patch, patched, remove } from './writes.js';

export interface KubernetesApiOptions {
  /** 0 uses a free one. */
  readonly port?: number;
  /** Real servers send one a minute. */
  readonly bookmarkEveryMs?: number;
}

/** A request that was answered, for assertions. `code` is 0 if a fault swallowed the answer. */
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

/** The time of a watch without `timeoutSeconds`: the API server's --min-request-timeout. */
const DEFAULT_WATCH_MS = 1_800_000;
const REMEMBERED_REQUESTS = 100_000;

export class KubernetesApi {
  readonly faults = new Faults();
  /** The token of a user who may do everything. */
  readonly adminToken = 'admin';
  /** The latest requests, in the order in which their answers began. */
  readonly requests: AnsweredRequest[] = [];
  /** In milliseconds; undefined withholds bookmarks from new watches. */
  bookmarkEveryMs: number | undefined;
  readonly #store = new ObjectStore();
  readonly #users = new Map<string, User>();
  readonly #watches = new Set<WatchStream>();
  readonly #certificate: Certificate;
  readonly #port: HttpsPort;

  private constructor(options: KubernetesApiOptions) {
    this.bookmarkEveryMs = options.bookmarkEveryMs ?? 60_000;
    this.#certificate = selfSignedCertificate('kubernetes');
    this.#port = new HttpsPort(options.port ?? 0, this.#certificate, (request, response) => {
      void this.#answer(request, response);
    });
    this.#users.set(this.adminToken, { name: 'system:admin' });
    for (const name of ['default', 'kube-system'])
      this.create('Namespace', {
        metadata: { name, labels: { 'kubernetes.io/metadata.name': name } },
        status: { phase: 'Active' },
      });
  }

  static async start(options: KubernetesApiOptions = {}): Promise<KubernetesApi> {
    const api = new KubernetesApi(options);
    await api.back();
    return api;
  }

  get url(): string {
    return `https://127.0.0.1:${this.#port.number}`;
  }

  /** PEM: what a service account has as ca.crt. */
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

  /** From now on the token belongs to this user. */
  allow(token: string, user: User): void {
    this.#users.set(token, user);
  }

  /** From now on the token gets 401, like an expired one. */
  revoke(token: string): void {
    this.#users.delete(token);
  }

  /** As JSON, which is YAML. */
  kubeconfig(token: string = this.adminToken): string {
    return kubeconfigOf({ url: this.url, ca: this.ca, token });
  }

  /** Makes an object without HTTP, with the given status and uid. */
  create(kind: string, template: ObjectTemplate): ApiObject {
    return this.#store.create(resourceOf(kind), template);
  }

  /** Changes any part of an object by a merge patch. */
  patch(kind: string, at: ObjectPlace, body: unknown): ApiObject {
    const before = this.get(kind, at);
    if (before === undefined) throw new Refusal(notFound(resourceOf(kind), at.name));
    return this.#store.update(resourceOf(kind), before, patched(before, body));
  }

  /** Deletes at once, without a grace period. */
  remove(kind: string, at: ObjectPlace): void {
    this.#store.delete(resourceOf(kind), at.namespace, at.name);
  }

  get(kind: string, at: ObjectPlace): ApiObject | undefined {
    return this.#store.get(resourceOf(kind), at.namespace, at.name);
  }

  list(kind: string): ApiObject[] {
    return this.#store.list(resourceOf(kind));
  }

  /** Forgets the history: older watches and continued lists get 410. */
  compact(): void {
    this.#store.compact();
  }

  /** Closes the port and cuts every connection, until `back`. */
  away(): Promise<void> {
    return this.#port.close();
  }

  /** Opens the same port again. */
  back(): Promise<void> {
    return this.#port.open();
  }

  close(): Promise<void> {
    return this.#port.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.on('error', () => {});
    const parsed = parseRequest(request);
    const { verb, target, resource, query, token } = parsed;
    const user = this.#users.get(token);
    const record = (code: number): void => {
      const { namespace, name } = target ?? {};
      if (this.requests.length >= REMEMBERED_REQUESTS) this.requests.shift();
      this.requests.push({ user: user?.name ?? 'system:anonymous', verb, resource, namespace, name, code, query });
    };
    try {
      const body = await bodyOf(request);
      if (user === undefined) throw new Refusal(unauthorized());
      if (target === undefined) throw new Refusal(noSuchPath());
      authorize(user, verb, target, query);
      const fault = this.faults.take({ verb, resource, continued: query.has('continue') });
      if (fault !== undefined && !(await this.#misbehave(fault, verb, response))) return record(0);
      if (verb === 'watch') this.#watch(target, query, response, fault);
      else send(response, ...this.#serve({ ...parsed, target }, request, body));
      record(response.statusCode);
    } catch (error) {
      if (request.destroyed && !request.complete) return; // the client went away in the middle of its body
      const { status, headers } = error instanceof Refusal ? error : new Refusal(internalError(String(error)));
      record(status.code);
      send(response, status.code, status, headers);
    }
  }

  #serve(
    { verb, target, query }: ParsedRequest & { readonly target: Target },
    request: IncomingMessage,
    body: Record<string, unknown>,
  ): [code: number, body: unknown] {
    const { name, resource, namespace } = target;
    if (verb === 'list') return [200, list(this.#store, target, query)];
    if (verb === 'create') return [201, create(this.#store, target, body)];
    if (name === undefined) throw new Refusal(methodNotAllowed());
    switch (verb) {
      case 'get': {
        const object = this.#store.get(resource, namespace, name);
        if (object === undefined) throw new Refusal(notFound(resource, name));
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

  /** True if the request is to be served nevertheless. */
  async #misbehave(fault: Fault, verb: string, response: ServerResponse): Promise<boolean> {
    switch (fault.kind) {
      case 'silence':
        return false;
      case 'slow':
        await new Promise((resolve) => setTimeout(resolve, fault.delayMs));
        return true;
      case 'held':
        await fault.until;
        return true;
      case 'drop':
        cutAfter(response, fault.afterBytes);
        return true;
      case 'status':
        throw new Refusal(
          serverError(fault.code),
          fault.retryAfterSeconds === undefined ? {} : { 'retry-after': String(fault.retryAfterSeconds) },
        );
      case 'gone':
        if (verb === 'watch' && fault.how === 'event') return true;
        throw new Refusal(tooOldResourceVersion('1', String(this.#store.revision)));
      case 'garbage':
        if (verb === 'watch') return true;
        response.writeHead(200, { 'content-type': 'application/json' }).end('{"kind":"PodList","items":[{"metad');
        return false;
      default:
        return true;
    }
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
