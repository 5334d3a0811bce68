// Withdraws an agent's announcements of this node's pods, for a node that is cleaned up without an agent.
import { ApiClient, openAccess, patchPodAnnotation, PODS } from '@sluice/kubernetes';
import * as Effect from 'effect/Effect';
import * as Fiber from 'effect/Fiber';
import * as Result from 'effect/Result';
import * as Schema from 'effect/Schema';
import { REDIRECTION_ANNOTATION } from '../announce/redirection.js';
import type { AgentConfig } from '../config/config.js';
import { PodObject, podName } from '../inventory/model.js';
import { trimPod } from '../inventory/trim.js';
import { messageOf } from '../failure/message-of.js';

export interface Withdrawal {
  /** Names of pods. */
  readonly withdrawn: readonly string[];
  readonly problems: readonly string[];
}

/** In milliseconds. Whoever cleans up a node waits for this, even if there is no API server any more. */
const WITHIN_MS = 15_000;
const ATTEMPTS = 3;

const PodList = Schema.Struct({ items: Schema.Array(Schema.Record(Schema.String, Schema.Unknown)) });

/** Does nothing if the source is not the API, because announcements are made only there. */
export const withdrawAnnouncements = ({
  nodeName,
  inventory: { source, kubeconfig },
}: Pick<AgentConfig, 'nodeName' | 'inventory'>): Effect.Effect<Withdrawal> =>
  Effect.gen(function* () {
    if (source !== 'kubernetes') return { withdrawn: [], problems: [] };
    const timeIsUp = yield* Effect.sleep(WITHIN_MS).pipe(
      Effect.andThen(Effect.fail(new Error(`the API server has not answered within ${WITHIN_MS / 1000} s`))),
      Effect.forkScoped,
    );
    const inTime = <A, E, R>(attempt: Effect.Effect<A, E, R>): Effect.Effect<A, E | Error, R> =>
      Effect.raceFirst(attempt, Fiber.join(timeIsUp));
    const access = yield* inTime(Effect.tryPromise({ try: () => openAccess(kubeconfig), catch: (error) => error }));
    const client = yield* ApiClient.open(access, { silenceMs: WITHIN_MS });
    const pods = yield* inTime(announcedPods(client, nodeName));
    const [withdrawn, problems] = yield* Effect.partition(pods, (pod) =>
      inTime(patchPodAnnotation(client, pod, REDIRECTION_ANNOTATION, null, { attempts: ATTEMPTS })).pipe(
        Effect.as(podName(pod)),
        Effect.mapError((error) => remaining(`pod ${podName(pod)} stays`, error)),
      ),
    );
    return { withdrawn, problems };
  }).pipe(
    Effect.scoped,
    Effect.catch((error) =>
      Effect.succeed({ withdrawn: [], problems: [remaining(`pods of node ${nodeName} may stay`, error)] }),
    ),
  );

const announcedPods = Effect.fnUntraced(function* (client: ApiClient, nodeName: string) {
  const query = { fieldSelector: `spec.nodeName=${nodeName}` };
  const body = yield* client.request({ method: 'GET', path: PODS.path, query });
  const { items } = yield* Schema.decodeUnknownEffect(PodList)(body);
  // The items of a list have no type.
  return items
    .map((item) => Schema.decodeUnknownResult(PodObject)({ ...item, kind: PODS.kind }))
    .filter(Result.isSuccess)
    .map(({ success }) => trimPod(success))
    .filter(({ annotations }) => annotations[REDIRECTION_ANNOTATION] !== undefined);
});

const remaining = (whose: string, error: unknown): string =>
  `the annotation ${REDIRECTION_ANNOTATION} of ${whose}: ${messageOf(error)}; ` +
  'peers send HBONE to a pod that has it: remove it with kubectl annotate, or restart the pod';
