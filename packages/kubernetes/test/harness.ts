// An API double with a client, closed after each test, and the objects that the tests make.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as Effect from 'effect/Effect';
import * as Exit from 'effect/Exit';
import * as Scope from 'effect/Scope';
import { afterEach } from 'vitest';
import { KubernetesApi, type KubernetesApiOptions } from '@sluice/testbed';
import {
  ApiClient,
  PODS,
  reflect as reflectInScope,
  type ApiAccess,
  type ApiClientOptions,
  type ApiObject,
  type Change,
  type Reflector,
  type ReflectorNews,
  type ReflectorOptions,
} from '../src/index.js';

export const NODE = 'node-a';

export interface Closing {
  readonly defer: (close: () => unknown) => void;
}

/** Runs what was deferred after each test, in reverse order. */
export function closing(): Closing {
  const deferred: (() => unknown)[] = [];
  afterEach(async () => {
    for (const close of deferred.splice(0).toReversed()) await close();
  });
  return { defer: (close) => deferred.push(close) };
}

export function access(api: KubernetesApi, token: string = api.adminToken): ApiAccess {
  return {
    server: api.url,
    credentials: () => Promise.resolve({ headers: { authorization: `Bearer ${token}` }, tls: { ca: api.ca } }),
    renew() {},
  };
}

export async function startApi({ defer }: Closing, options?: KubernetesApiOptions): Promise<KubernetesApi> {
  const api = await KubernetesApi.start(options);
  defer(() => api.close());
  return api;
}

/** What a program has opened, with a way to close it before the end of the test. */
export function open<A>({ defer }: Closing, program: Effect.Effect<A, never, Scope.Scope>): [A, () => Promise<void>] {
  const scope = Scope.makeUnsafe();
  const close = (): Promise<void> => Effect.runPromise(Scope.close(scope, Exit.void));
  defer(close);
  return [Effect.runSync(Scope.provide(program, scope)), close];
}

export function connect(closer: Closing, from: ApiAccess, options?: ApiClientOptions): ApiClient {
  return open(closer, ApiClient.open(from, options))[0];
}

/** The service account files of a pod. */
export function serviceAccountFiles({ defer }: Closing, ca: string, token: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-kubernetes-'));
  defer(() => rmSync(directory, { recursive: true }));
  writeFileSync(join(directory, 'ca.crt'), ca);
  writeFileSync(join(directory, 'token'), token);
  return directory;
}

/** The parts of an object that the tests keep, enough to tell any two states of it apart. */
export interface Kept {
  readonly key: string;
  readonly revision: string | undefined;
  readonly labels: unknown;
}

export function keep({ metadata }: ApiObject): Kept {
  if (metadata.name.startsWith('unusable')) throw new Error('unusable');
  return {
    key: metadata.namespace === undefined ? metadata.name : `${metadata.namespace}/${metadata.name}`,
    revision: metadata.resourceVersion,
    labels: metadata['labels'],
  };
}

export interface Followed extends Reflector<Kept> {
  readonly log: readonly Change<Kept>[];
  readonly problems: readonly Extract<ReflectorNews<Kept>, { kind: 'problem' }>[];
  close(): Promise<void>;
}

/** A reflector with short waits. */
export function reflect(closer: Closing, client: ApiClient, options: Partial<ReflectorOptions<Kept>> = {}): Followed {
  const log: Change<Kept>[] = [];
  const problems: Extract<ReflectorNews<Kept>, { kind: 'problem' }>[] = [];
  const [reflector, close] = open(
    closer,
    reflectInScope<Kept>({
      client,
      resource: PODS,
      fieldSelector: `spec.nodeName=${NODE}`,
      trim: keep,
      pageSize: 3,
      backOff: { baseMs: 1, capMs: 10 },
      onNews: (news) =>
        Effect.sync(() => {
          if (news.kind === 'changes') log.push(...news.changes);
          if (news.kind === 'problem') problems.push(news);
        }),
      ...options,
    }),
  );
  return { ...reflector, log, problems, close };
}

export function podTemplate(
  name: string,
  options: { namespace?: string; node?: string; labels?: Record<string, string> } = {},
): { metadata: { name: string; namespace: string; labels: Record<string, string> }; [field: string]: unknown } {
  const { namespace = 'default', node = NODE, labels = {} } = options;
  return {
    metadata: { name, namespace, labels },
    spec: { nodeName: node, containers: [{ name: 'main', image: 'example.com/main:1' }] },
  };
}

/** uid -> revision, for the objects that the server has. */
export function onServer(api: KubernetesApi, kind: 'Pod' | 'Namespace'): Map<string, string> {
  return new Map(
    api
      .list(kind)
      .filter((object) => kind === 'Namespace' || (object['spec'] as { nodeName?: string }).nodeName === NODE)
      .map(({ metadata }) => [metadata.uid, metadata.resourceVersion]),
  );
}

/** uid -> revision, for the objects that the reflector has. */
export function known(reflector: Reflector<Kept>): Map<string, string | undefined> {
  return new Map([...reflector.objects].map(([uid, { revision }]) => [uid, revision]));
}

export function sortedEntries(map: ReadonlyMap<string, unknown>): [string, unknown][] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1));
}
