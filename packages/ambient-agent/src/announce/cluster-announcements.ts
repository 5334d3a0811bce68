// Announcements to the Kubernetes API: the annotation that istiod reads, and Events for the owners of pods.
import {
  ApiError,
  patchPodAnnotation,
  PodEvents,
  type ApiClient,
  type PodEvent,
  type PodReference,
} from '@sluice/kubernetes';
import * as Effect from 'effect/Effect';
import * as Layer from 'effect/Layer';
import type { Mode } from '../config/config.js';
import type { WorkloadStatus } from '../enrolment/status.js';
import type { Inventory } from '../inventory/model.js';
import { messageOf } from '../failure/message-of.js';
import { metrics } from '../observe/metrics.js';
import { Announcements } from './announcements.js';
import { PodWarnings } from './pod-warnings.js';
import { REDIRECTION_ANNOTATION, redirectionOf } from './redirection.js';
import { RedirectionWriter, type RedirectionWish, type RedirectionWriterOptions } from './redirection-writer.js';

export interface ClusterAnnouncementsOptions {
  readonly client: ApiClient;
  readonly nodeName: string;
  /** In `node` mode no pod can be sent HBONE: nobody listens for it there, and what was announced before is taken back. */
  readonly mode: Mode;
  /** How long a pass waits for the API server to take an annotation back, in milliseconds. */
  readonly withdrawWithinMs?: number;
  readonly writer?: Pick<RedirectionWriterOptions, 'backOffMs' | 'pendingAfterMs'>;
}

/** A server that does not answer must not hold up the others' way into the mesh; it is told when it does. */
const WITHDRAW_WITHIN_MS = 2000;

const remedies: Readonly<Record<string, string>> = {
  annotation: 'give its service account `patch` on `pods/status` (ClusterRole sluice)',
  event: 'give its service account `create` on `events` (ClusterRole sluice)',
};

function failureText(what: 'annotation' | 'event', error: unknown): string {
  const isForbidden = error instanceof ApiError && error.code === 403;
  return isForbidden ? `${error.message}; ${remedies[what]}` : messageOf(error);
}

/** Pods that the inventory knows; of others there is nothing to say. */
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

export const clusterAnnouncements = (options: ClusterAnnouncementsOptions): Layer.Layer<Announcements> =>
  Layer.effect(
    Announcements,
    Effect.gen(function* () {
      const { client, nodeName, mode, withdrawWithinMs = WITHDRAW_WITHIN_MS } = options;
      const context = yield* Effect.context<never>();
      const run = (effect: Effect.Effect<void>): void => void Effect.runForkWith(context)(effect);
      const failed = (what: 'annotation' | 'event', { namespace, name }: PodReference, error: unknown): void =>
        run(
          Effect.all(
            [
              metrics.apiWrite(what, 'failed'),
              metrics.error(`api-${what}`),
              Effect.logWarning(`the ${what} of a pod could not be written: ${failureText(what, error)}`, {
                pod: `${namespace}/${name}`,
              }),
            ],
            { discard: true },
          ),
        );

      const writer = yield* Effect.acquireRelease(
        Effect.sync(
          () =>
            new RedirectionWriter({
              ...options.writer,
              // It tries again by itself, with what is wanted then.
              patch: (pod, value, signal) => {
                const patch = patchPodAnnotation(client, pod, REDIRECTION_ANNOTATION, value ?? null, { attempts: 1 });
                const counted = Effect.tap(patch, metrics.apiWrite('annotation', value ?? 'removed'));
                return Effect.runPromiseWith(context)(counted, { signal });
              },
              onFailure: (pod, error) => failed('annotation', pod, error),
            }),
        ),
        (opened) => Effect.promise(() => opened.close()),
      );

      const scope = yield* Effect.scope;
      const events = new PodEvents({ client, component: 'sluice', host: nodeName });
      const record = (pod: PodReference, event: PodEvent): void => {
        const recorded = Effect.match(events.record(pod, event), {
          onSuccess: (outcome) => run(metrics.apiWrite('event', outcome)),
          onFailure: (error) => failed('event', pod, error),
        });
        Effect.runForkWith(context)(Effect.forkIn(recorded, scope));
      };
      const warnings = new PodWarnings({ record });

      return Announcements.of({
        withdraw: (statuses, inventory) =>
          Effect.promise(() => writer.withdraw(wishesOf(mode, statuses, inventory))).pipe(
            Effect.timeoutOption(withdrawWithinMs),
            Effect.asVoid,
          ),
        publish: (statuses, inventory) =>
          Effect.sync(() => {
            writer.want(wishesOf(mode, statuses, inventory));
            warnings.look(statuses, (uid) => inventory.pods.get(uid)?.isDeleting === true);
            return writer.problems();
          }),
      });
    }),
  );
