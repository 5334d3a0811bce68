// The inventory from the Kubernetes API: this node's pods and all namespaces, copied by two reflectors. When the server
// fails, what is known stays, and the metrics say how old it is.
import {
  NAMESPACES,
  PODS,
  reflect,
  type ApiClient,
  type ApiObject,
  type ApiResource,
  type BackOff,
  type Change,
  type Reflector,
  type ReflectorNews,
  type ReflectorState,
} from '@sluice/kubernetes';
import * as Effect from 'effect/Effect';
import * as Layer from 'effect/Layer';
import * as Queue from 'effect/Queue';
import * as Schema from 'effect/Schema';
import * as Stream from 'effect/Stream';
import type * as Scope from 'effect/Scope';
import { messageOf } from '../failure/message-of.js';
import { metrics } from '../observe/metrics.js';
import type { Readiness } from '../observe/readiness.js';
import { apiProblem } from './api-problem.js';
import { describeIssue } from '../config/schema-issue.js';
import { NamespaceObject, PodObject, type Inventory, type Namespace } from './model.js';
import { InventorySource, type Copied } from './source.js';
import { trimNamespace, trimPod } from './trim.js';

export interface KubernetesSourceOptions {
  readonly client: ApiClient;
  readonly nodeName: string;
  readonly readiness: Readiness;
  /** In milliseconds; the reflector's default if left out. */
  readonly silenceMs?: number;
  /** For tests. */
  readonly backOff?: BackOff;
}

/** One watch that breaks off is not a problem; the second failure in a row is. */
const PROBLEM_FAILURES = 2;
/** How long the same problem is not logged again, in milliseconds. */
const TOLD_AGAIN_MS = 300_000;

/** @throws Error what is wrong with the object, and where */
function decoded<A, B>(schema: Schema.ConstraintDecoder<A>, object: ApiObject, trim: (value: A) => B): B {
  const result = Schema.decodeUnknownResult(schema)(object);
  if (result._tag === 'Success') return trim(result.success);
  const [first] = describeIssue(result.failure.issue);
  const { kind, metadata } = object;
  const name = metadata.namespace === undefined ? metadata.name : `${metadata.namespace}/${metadata.name}`;
  throw new Error(
    `${kind} ${name} of the API cannot be used at ${first?.path ?? '?'}: ${first?.text ?? 'not understood'}; ` +
      'what was known of it stays in force',
  );
}

/**
 * The layer is built when both collections are complete, however long that takes; until then /readyz says why. Later
 * the server may be away for any time.
 */
export const kubernetesSource = ({
  client,
  nodeName,
  readiness,
  silenceMs,
  backOff,
}: KubernetesSourceOptions): Layer.Layer<InventorySource> =>
  Layer.effect(
    InventorySource,
    Effect.gen(function* () {
      const changed = yield* Queue.sliding<void>(1);
      const touch = Queue.offer(changed, undefined);

      const copy = <A, T>(
        resource: ApiResource,
        schema: Schema.ConstraintDecoder<A>,
        trim: (value: A) => T,
        fieldSelector: string | undefined,
        onChanges: (changes: readonly Change<T>[]) => Effect.Effect<void>,
      ): Effect.Effect<Reflector<T>, never, Scope.Scope> => {
        /** The problem that was logged last, and when; undefined if there is none. */
        let told: { readonly trouble: string; readonly atMs: number } | undefined;
        const onNews = Effect.fnUntraced(function* (news: ReflectorNews<T>, state: ReflectorState) {
          switch (news.kind) {
            case 'changes':
              yield* onChanges(news.changes);
              yield* touch;
              break;
            case 'unusable':
              yield* metrics.error('api-object');
              yield* Effect.logWarning(messageOf(news.error));
              break;
            case 'problem': {
              const { error, retryInMs } = news;
              yield* metrics.error(`api-${error.code ?? error.reason}`);
              // From here on the status shows the problem.
              if (state.failures === PROBLEM_FAILURES) yield* touch;
              const trouble = `${error.code} ${error.reason}`;
              const atMs = performance.now();
              if (told?.trouble === trouble && atMs - told.atMs < TOLD_AGAIN_MS) break;
              told = { trouble, atMs };
              const retryInSeconds = Math.round(retryInMs / 100) / 10;
              yield* Effect.logWarning(apiProblem(resource, state, error), { retryInSeconds });
              yield* touch;
              break;
            }
            case 'resumed':
              if (told === undefined) break;
              told = undefined;
              yield* Effect.logInfo('the API server answers again', { resource: resource.path });
              yield* touch;
          }
        });
        return reflect<T>({
          client,
          resource,
          fieldSelector,
          silenceMs,
          backOff,
          trim: (object) => decoded(schema, object, trim),
          onNews,
        });
      };

      // Each map is made again only when it has changed, because a cluster may have thousands of namespaces.
      let knownPods: Inventory['pods'] | undefined;
      let knownNamespaces: Inventory['namespaces'] | undefined;
      const pods = yield* copy(PODS, PodObject, trimPod, `spec.nodeName=${nodeName}`, (changes) => {
        knownPods = undefined;
        return Effect.forEach(changes, ({ kind }) => metrics.podEvent(kind), { discard: true });
      });
      const namespaces = yield* copy(NAMESPACES, NamespaceObject, trimNamespace, undefined, () => {
        knownNamespaces = undefined;
        return Effect.void;
      });
      const copies = [
        { resource: PODS, reflector: pods },
        { resource: NAMESPACES, reflector: namespaces },
      ] as const;

      const problems = (): string[] =>
        copies.flatMap(({ resource, reflector: { state } }) =>
          state.lastError === undefined || (state.synced && state.failures < PROBLEM_FAILURES)
            ? []
            : [apiProblem(resource, state, state.lastError)],
        );
      readiness.unless(() => {
        const missing = copies.filter(({ reflector }) => !reflector.state.synced);
        if (missing.length === 0) return undefined;
        const why = problems();
        return why.length > 0 ? why.join('; ') : 'the first lists of the API server are not complete yet';
      });
      yield* Effect.forEach(copies, ({ reflector }) => reflector.synced, { discard: true });
      yield* Effect.logInfo('the Kubernetes API has been read', {
        server: client.server,
        pods: pods.objects.size,
        namespaces: namespaces.objects.size,
      });
      // At least the agent's own pod has to exist.
      if (pods.objects.size === 0)
        yield* Effect.logWarning(
          `the API knows no pod of node ${nodeName}: is that its name in \`kubectl get nodes\`? Set NODE_NAME or \`nodeName\``,
        );

      return InventorySource.of({
        current: Effect.sync(() => {
          knownPods ??= new Map(pods.objects);
          knownNamespaces ??= byName(namespaces);
          return { inventory: { pods: knownPods, namespaces: knownNamespaces }, problems: problems() };
        }),
        changes: Stream.fromQueue(changed),
        copies: () =>
          copies.map(({ resource, reflector }): Copied => {
            const { state, counters, objects } = reflector;
            const { connected, lastContactMs } = state;
            return {
              resource: `${resource.kind.toLowerCase()}s`,
              objects: objects.size,
              connected,
              lastContactMs,
              counters,
            };
          }),
      });
    }),
  );

function byName(namespaces: Reflector<Namespace>): Inventory['namespaces'] {
  return new Map([...namespaces.objects].map(([, namespace]) => [namespace.name, namespace]));
}
