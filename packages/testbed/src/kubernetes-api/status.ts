// The Status objects that an API server answers with, with their original texts (apimachinery/pkg/api/errors/errors.go).
import { qualifiedName, type Resource } from './resources.js';

export interface Status {
  readonly kind: 'Status';
  readonly apiVersion: 'v1';
  readonly metadata: { readonly continue?: string };
  readonly status: 'Failure' | 'Success';
  readonly message?: string;
  readonly reason?: string;
  readonly details?: Readonly<Record<string, unknown>>;
  readonly code: number;
}

/** An answer other than success. */
export class Refusal extends Error {
  readonly status: Status;
  readonly headers: Readonly<Record<string, string>>;
  constructor(status: Status, headers: Readonly<Record<string, string>> = {}) {
    super(status.message);
    this.name = 'Refusal';
    this.status = status;
    this.headers = headers;
  }
}

function failure(
  code: number,
  reason: string,
  message: string,
  rest: { details?: Record<string, unknown>; continueToken?: string } = {},
): Status {
  return {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: rest.continueToken === undefined ? {} : { continue: rest.continueToken },
    status: 'Failure',
    message,
    reason,
    ...(rest.details && { details: rest.details }),
    code,
  };
}

const about = (resource: Resource, name: string | undefined): Record<string, unknown> => ({
  ...(name !== undefined && { name }),
  ...(resource.group !== '' && { group: resource.group }),
  kind: resource.plural,
});

export const unauthorized = (): Status => failure(401, 'Unauthorized', 'Unauthorized');

export const notFound = (resource: Resource, name: string): Status =>
  failure(404, 'NotFound', `${qualifiedName(resource)} "${name}" not found`, { details: about(resource, name) });

export const noSuchPath = (): Status =>
  failure(404, 'NotFound', 'the server could not find the requested resource', { details: {} });

export const alreadyExists = (resource: Resource, name: string): Status =>
  failure(409, 'AlreadyExists', `${qualifiedName(resource)} "${name}" already exists`, {
    details: about(resource, name),
  });

export const conflict = (resource: Resource, name: string, why: string): Status =>
  failure(409, 'Conflict', `Operation cannot be fulfilled on ${qualifiedName(resource)} "${name}": ${why}`, {
    details: about(resource, name),
  });

/** registry/generic/registry/store.go, OptimisticLockErrorMsg */
export const MODIFIED = 'the object has been modified; please apply your changes to the latest version and try again';

export const invalid = (resource: Resource, name: string, field: string, why: string): Status =>
  failure(422, 'Invalid', `${resource.kind} "${name}" is invalid: ${field}: ${why}`, {
    details: about(resource, name),
  });

export const badRequest = (message: string): Status => failure(400, 'BadRequest', message);

export const methodNotAllowed = (): Status =>
  failure(405, 'MethodNotAllowed', 'the server does not allow this method on the requested resource', { details: {} });

export const unsupportedMediaType = (accepted: string): Status =>
  failure(
    415,
    'UnsupportedMediaType',
    `the body of the request was in an unknown format - accepted media types include: ${accepted}`,
  );

export const tooOldResourceVersion = (asked: string, oldest: string): Status =>
  failure(410, 'Expired', `too old resource version: ${asked} (${oldest})`);

/** storage/etcd3/errors.go, inconsistentContinue */
export const continueExpired = (continueToken: string): Status =>
  failure(
    410,
    'Expired',
    'The provided continue parameter is too old to display a consistent list result. You can start a new list without ' +
      'the continue parameter, or use the continue token in this response to retrieve the remainder of the results. ' +
      'Continuing with the provided token results in an inconsistent list - objects that were created, modified, or ' +
      'deleted between the time the first chunk was returned and now may show up in the list.',
    { continueToken },
  );

/** storage/errors.go, NewTooLargeResourceVersionError */
export const tooLargeResourceVersion = (asked: string, current: string): Status =>
  failure(504, 'Timeout', `Timeout: Too large resource version: ${asked}, current: ${current}`, {
    details: {
      causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
      retryAfterSeconds: 1,
    },
  });

/** endpoints/handlers/responsewriters/errors.go, forbiddenMessage; rbac says nothing more if no rule allows the request. */
export function forbidden(
  user: string,
  verb: string,
  resource: Resource,
  at: { namespace: string | undefined; name: string | undefined; subresource: string | undefined },
): Status {
  const what = at.subresource === undefined ? resource.plural : `${resource.plural}/${at.subresource}`;
  const where = at.namespace === undefined ? 'at the cluster scope' : `in the namespace "${at.namespace}"`;
  const subject =
    at.name === undefined
      ? `${qualifiedName(resource)} is forbidden`
      : `${qualifiedName(resource)} "${at.name}" is forbidden`;
  return failure(
    403,
    'Forbidden',
    `${subject}: User "${user}" cannot ${verb} resource "${what}" in API group "${resource.group}" ${where}`,
    { details: about(resource, at.name) },
  );
}

export const internalError = (message: string): Status =>
  failure(500, 'InternalError', `Internal error occurred: ${message}`);

export const serverError = (code: number): Status => {
  switch (code) {
    case 429:
      return failure(429, 'TooManyRequests', 'Too many requests, please try again later.');
    case 503:
      return failure(503, 'ServiceUnavailable', 'apiserver is shutting down');
    case 504:
      return failure(504, 'Timeout', 'Timeout: request did not complete within requested timeout');
    default:
      return { ...internalError('etcdserver: leader changed'), code };
  }
};
