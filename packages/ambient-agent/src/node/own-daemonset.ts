// Whether an agent that is told to end is being uninstalled or only replaced. Its own DaemonSet shows it
// (docs/decisions/uninstall.md).
import { objectFate, type ApiClient } from '@sluice/kubernetes';
import * as Effect from 'effect/Effect';
import { messageOf } from '../failure/message-of.js';

/** The environment variables that the chart sets. */
interface Names {
  readonly DAEMONSET_NAME?: string | undefined;
  readonly POD_NAMESPACE?: string | undefined;
}

/** In milliseconds. The kubelet gives a minute, most of which is needed for leaving. */
const ANSWER_WITHIN_MS = 10_000;

/** Never fails, and waits for ten seconds at most. If the answer cannot be known, it is false. */
export const isUninstalled = (client: ApiClient, names: Names = process.env): Effect.Effect<boolean> =>
  Effect.gen(function* () {
    const { DAEMONSET_NAME: name, POD_NAMESPACE: namespace } = names;
    if (!name || !namespace) return false;
    const path = `/apis/apps/v1/namespaces/${encodeURIComponent(namespace)}/daemonsets/${encodeURIComponent(name)}`;
    const asked = objectFate(client, path).pipe(
      Effect.mapError(messageOf),
      Effect.timeoutOrElse({
        duration: ANSWER_WITHIN_MS,
        orElse: () => Effect.fail(`the API server has not answered within ${ANSWER_WITHIN_MS / 1000} s`),
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
          Effect.logInfo('the agent’s own DaemonSet was read', { daemonSet: `${namespace}/${name}`, fate }),
          fate !== 'stays',
        ),
    });
  });
