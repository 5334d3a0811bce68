// Announcements to the Kubernetes API: the annotation that istiod reads, and Events for the owners of pods.
import { patchPodAnnotation, PodEvents, type ApiClient, type ApiError, type PodReference } from '@sluice/kubernetes';
import * as Effect from 'effect/Effect';
import * as Layer from 'effect/Layer';
import type { Mode } from '../config/config.js';
import type { WorkloadStatus } from '../enrolment/status.js';
import type { Inventory } from '../inventory/model.js';
import { metrics } from '../observe/metrics.js';
import { Announcements } from './announcements.js';
import { PodWarnings } from './pod-warnings.js';
import { REDIRECTION_ANNOTATION, redirectionOf } from './redirection.js';
import { makeRedirectionWriter, type RedirectionWish } from './redirection-writer.js';

export interface ClusterAnnouncementsOptions {
  readonly client: ApiClient;
  readonly nodeName: string;
  /** In `node` mode nobody listens for HBONE in a pod, so nothing is announced, and earlier announcements are withdrawn. */
  readonly mode: Mode;
}

/**
 * How long a pass waits for the API server to remove an annotation, in milliseconds. A server that does not answer must not
 * keep other pods from joining the mesh; the annotation is removed when the server answers.
 */
const WITHDRAW_WITHIN_MS = 2000;

const FORBIDDEN = 403;
const remedies = {
  annotation: 'give its service account `patch` on `pods/status` (ClusterRole sluice)',
  event: 'give its service account `create` on `events` (ClusterRole sluice)',
} as const;

const failed = (
  what: keyof typeof remedies,
  { namespace, name }: PodReference,
  error: ApiError,
): Effect.Effect<void> => {
  const why = error.code === FORBIDDEN ? `${error.message}; ${remedies[what]}` : error.message;
  return Effect.all(
    [
      metrics.apiWrite(what, 'failed'),
      metrics.error(`api-${what}`),
      Effect.logWarning(`the ${what} of a pod could not be written: ${why}`, { pod: `${namespace}/${name}` }),
    ],
    { discard: true },
  );
};

/** The wishes for the pods that the inventory knows; other pods cannot be annotated. */
function wishesOf(mode: Mode, statuses: readonly WorkloadStatus[], { pods }: Inventory): RedirectionWish[] {
  return statuses.flatMap((status) => {
    const pod = pods.get(status.uid);
    if (pod === undefined) return [];
    const { uid, namespace, name, annotations } = pod;
    return [
      {
        pod: { uid, namespace, name },
        wanted: mode === 'inPod' ? redirectionOf(status) : undefined,
        seen: annotations[REDIRECTION_ANNOTATION],
      },
    ];
  });
}

export const clusterAnnouncements = ({
  client,
  nodeName,
  mode,
}: ClusterAnnouncementsOptions): Layer.Layer<Announcements> =>
  Layer.effect(
    Announcements,
    Effect.gen(function* () {
      const scope = yield* Effect.scope;
      const writer = yield* makeRedirectionWriter({
        // The writer tries again by itself, with the value that is wanted then.
        patch: (pod, value) =>
          Effect.tap(
            patchPodAnnotation(client, pod, REDIRECTION_ANNOTATION, value ?? null, { attempts: 1 }),
            metrics.apiWrite('annotation', value ?? 'removed'),
          ),
        onFailure: (pod, error) => failed('annotation', pod, error),
      });
      const events = new PodEvents({ client, component: 'sluice', host: nodeName });
      const warnings = new PodWarnings((pod, event) =>
        events.record(pod, event).pipe(
          Effect.matchEffect({
            onSuccess: (outcome) => metrics.apiWrite('event', outcome),
            onFailure: (error) => failed('event', pod, error),
          }),
          Effect.forkIn(scope),
        ),
      );

      return Announcements.of({
        withdraw: (statuses, inventory) =>
          writer
            .withdraw(wishesOf(mode, statuses, inventory))
            .pipe(Effect.timeoutOption(WITHDRAW_WITHIN_MS), Effect.asVoid),
        publish: (statuses, inventory) =>
          Effect.gen(function* () {
            yield* writer.want(wishesOf(mode, statuses, inventory));
            yield* warnings.look(statuses, (uid) => inventory.pods.get(uid)?.isDeleting === true);
            return writer.problems();
          }),
      });
    }),
  );
