// The inventory of the Kubernetes API: this node's pods and all namespaces, copied by two reflectors. What the server
// does meanwhile changes nothing of what is known; how old that is can be told.
import {
  NAMESPACES,
  PODS,
  Reflector,
  type ApiClient,
  type ApiObject,
  type ApiResource,
  type Change,
} from '@sluice/kubernetes';
import type { BackOff } from '@sluice/kubernetes';
import * as Effect from 'effect/Effect';
import * as Layer from 'effect/Layer';
import * as Queue from 'effect/Queue';
import * as Schema from 'effect/Schema';
import * as Stream from 'effect/Stream';
import type * as Scope from 'effect/Scope';
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
  /** In milliseconds; the reflector's own if left out. */
  readonly silenceMs?: number;
  /** For tests. */
  readonly backOff?: BackOff;
}

/** One watch that breaks off is nothing; the second in a row is. */
const PROBLEM_FAILURES = 2;
/** The same trouble is told again after so long, in milliseconds. */
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

/** Says what is new of the trouble with one collection, and nothing twice. */
class Troubles {
  #told = '';
  #toldMs = 0;

  isNews(code: string): boolean {
    const now = performance.now();
    if (code === this.#told && now - this.#toldMs < TOLD_AGAIN_MS) return false;
    this.#told = code;
    this.#toldMs = now;
    return true;
  }

  /** False when there was none to be over. */
  over(): boolean {
    const had = this.#told !== '';
    this.#told = '';
    return had;
  }
}

/**
 * Is built when both collections are there as a whole, which takes as long as it takes: until then /readyz says why. Later
 * the server may be away for as long as it likes.
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
      const context = yield* Effect.context<never>();
      const run = (effect: Effect.Effect<void>): void => void Effect.runForkWith(context)(effect);
      const touch = (): void => {
        Queue.offerUnsafe(changed, undefined);
      };

      const copy = <A, T>(
        resource: ApiResource,
        schema: Schema.ConstraintDecoder<A>,
        trim: (value: A) => T,
        selector: { readonly fieldSelector?: string },
        onChanges: (changes: readonly Change<T>[]) => void,
      ): Effect.Effect<Reflector<T>, never, Scope.Scope> =>
        Effect.acquireRelease(
          Effect.sync(() => {
            const reflector = new Reflector<T>({
              client,
              resource,
              ...selector,
              ...(silenceMs !== undefined && { silenceMs }),
              ...(backOff && { backOff }),
              trim: (object) => {
                try {
                  return decoded(schema, object, trim);
                } catch (error) {
                  run(Effect.andThen(metrics.error('api-object'), Effect.logWarning((error as Error).message)));
                  throw error;
                }
              },
            });
            // In the same turn, so that nothing is missed.
            reflector.changes.subscribe((changes) => {
              onChanges(changes);
              touch();
            });
            const troubles = new Troubles();
            reflector.problems.subscribe(({ error, retryInMs }) => {
              run(metrics.error(`api-${error.code ?? error.reason}`));
              // From here on it is a problem to be shown.
              if (reflector.state.failures === PROBLEM_FAILURES) touch();
              if (!troubles.isNews(`${error.code} ${error.reason}`)) return;
              const retryInSeconds = Math.round(retryInMs / 100) / 10;
              run(Effect.logWarning(apiProblem(resource, reflector.state, error), { retryInSeconds }));
              touch();
            });
            reflector.resumptions.subscribe(() => {
              if (!troubles.over()) return;
              run(Effect.logInfo(`the API server is heard again`, { resource: resource.path }));
              touch();
            });
            return reflector;
          }),
          (reflector) => Effect.promise(() => reflector.close()),
        );

      // Each is made anew when it has changed, and only then: a cluster may have thousands of namespaces.
      let knownPods: Inventory['pods'] | undefined;
      let knownNamespaces: Inventory['namespaces'] | undefined;
      const pods = yield* copy(PODS, PodObject, trimPod, { fieldSelector: `spec.nodeName=${nodeName}` }, (changes) => {
        knownPods = undefined;
        run(Effect.forEach(changes, ({ kind }) => metrics.podEvent(kind), { discard: true }));
      });
      const namespaces = yield* copy(NAMESPACES, NamespaceObject, trimNamespace, {}, () => {
        knownNamespaces = undefined;
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
        return why.length > 0 ? why.join('; ') : 'the API server has not been heard to the end yet';
      });
      yield* Effect.promise(() => Promise.all(copies.map(({ reflector }) => reflector.whenSynced())));
      yield* Effect.logInfo('the Kubernetes API is known', {
        server: client.server,
        pods: pods.objects.size,
        namespaces: namespaces.objects.size,
      });
      // At least its own pod has to be there.
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
