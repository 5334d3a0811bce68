// What a request asks for, who makes it, and whether it is allowed (apiserver/pkg/endpoints/request/requestinfo.go).
import type { IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { isAllowed, type User } from './authorization.js';
import { isRecord } from './merge-patch.js';
import { parsePath, type Target } from './resources.js';
import { onlyName } from './selectors.js';
import { badRequest, forbidden, Refusal } from './status.js';

export interface ParsedRequest {
  readonly verb: string;
  /** undefined for a path that is not a resource of the double. */
  readonly target: Target | undefined;
  /** `pods`, `pods/status`, or the path. */
  readonly resource: string;
  readonly query: URLSearchParams;
  readonly token: string;
}

export function parseRequest(request: IncomingMessage): ParsedRequest {
  const url = new URL(request.url ?? '/', 'https://localhost');
  const target = parsePath(url.pathname);
  return {
    verb: verbOf(request.method ?? '', target, url.searchParams),
    target,
    resource: target === undefined ? url.pathname : resourceName(target),
    query: url.searchParams,
    token: /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '',
  };
}

/** @throws Refusal 403 */
export function authorize(user: User, verb: string, target: Target, query: URLSearchParams): void {
  const { resource, subresource } = target;
  const isMany = verb === 'list' || verb === 'watch';
  const name = target.name ?? (isMany ? onlyName(query.get('fieldSelector') ?? '') : undefined);
  // A request for one namespace is a request in it.
  const namespace = resource.plural === 'namespaces' ? name : target.namespace;
  if (!isAllowed(user, { verb, resource, subresource, namespace, name }))
    throw new Refusal(forbidden(user.name, verb, resource, { namespace, name, subresource }));
}

/** {} if there is none. @throws Refusal 400 */
export async function bodyOf(request: IncomingMessage): Promise<Record<string, unknown>> {
  const body = await text(request);
  if (body === '') return {};
  try {
    const value: unknown = JSON.parse(body);
    if (isRecord(value)) return value;
  } catch {
    // below
  }
  throw new Refusal(badRequest('the object provided is unrecognized (must be of type Status): invalid character'));
}

function resourceName({ resource, subresource }: Target): string {
  return subresource === undefined ? resource.plural : `${resource.plural}/${subresource}`;
}

function verbOf(method: string, target: Target | undefined, query: URLSearchParams): string {
  const isOne = target?.name !== undefined;
  switch (method) {
    case 'GET':
      if (isOne) return 'get';
      return ['true', '1'].includes(query.get('watch') ?? '') ? 'watch' : 'list';
    case 'POST':
      return 'create';
    case 'PUT':
      return 'update';
    case 'PATCH':
      return 'patch';
    case 'DELETE':
      return isOne ? 'delete' : 'deletecollection';
    default:
      return method.toLowerCase();
  }
}
