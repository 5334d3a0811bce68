// Whether an agent that is told to end is being uninstalled, or only exchanged: its own DaemonSet says so
// (docs/decisions/uninstall.md).
import { objectFate, type ApiClient } from '@sluice/kubernetes';
import * as Effect from 'effect/Effect';
import { messageOf } from '../failure/message-of.js';

/** As the chart sets them. */
interface Names {
  readonly DAEMONSET_NAME?: string | undefined;
  readonly POD_NAMESPACE?: string | undefined;
}

/** Of the minute that the kubelet gives, most is for leaving; in milliseconds. */
const ANSWER_WITHIN_MS = 10_000;

/** Fails never, and waits for ten seconds at most: what cannot be known is no uninstall. */
export const isUninstalled = (client: ApiClient, names: Names = process.env): Effect.Effect<boolean> =>
  Effect.gen(function* () {
    const { DAEMONSET_NAME: name, POD_NAMESPACE: namespace } = names;
    if (!name || !namespace) return false;
    const path = `/apis/apps/v1/namespaces/${encodeURIComponent(namespace)}/daemonsets/${encodeURIComponent(name)}`;
    const asked = objectFate(client, path).pipe(
      Effect.mapError(messageOf),
      Effect.timeoutOrElse({
        duration: ANSWER_WITHIN_MS,
        orElse: () => Effect.fail(`the API server has not said so within ${ANSWER_WITHIN_MS / 1000} s`),
      }),
    );
    return yield* Effect.matchEffect(asked, {
      onFailure: (why) =>
        Effect.as(
          Effect.logWarning(
            `whether this is an uninstall cannot be known, so the datapath stays in force; if it is one, run \`sluice cleanup\` on this node: ${why}`,
            { daemonSet: `${namespace}/${name}` },
          ),
          false,
        ),
      onSuccess: (fate) =>
        Effect.as(
          Effect.logInfo('asked for its own DaemonSet', { daemonSet: `${namespace}/${name}`, fate }),
          fate !== 'stays',
        ),
    });
  });
