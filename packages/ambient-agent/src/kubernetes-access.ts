// The client of the Kubernetes API, opened once for everything that reads or writes there.
import { ApiClient, openAccess } from '@sluice/kubernetes';
import * as Duration from 'effect/Duration';
import * as Effect from 'effect/Effect';
import type * as Scope from 'effect/Scope';
import type { AgentConfig } from './config/config.js';
import { messageOf } from './failure/message-of.js';
import { StartupError } from './failure/startup-error.js';
import { AGENT_VERSION } from './version.js';

/** For an answer that is not a watch: a little more than the API server itself takes (--request-timeout, 60 s). */
const LONGEST_SILENCE_MS = 65_000;

/** Fails if there are no credentials; it does not ask the server. Closes with the scope. */
export const openKubernetes = ({
  inventory: { kubeconfig, watchSilence },
}: Pick<AgentConfig, 'inventory'>): Effect.Effect<ApiClient, StartupError, Scope.Scope> =>
  Effect.tryPromise({
    try: () => openAccess(kubeconfig),
    catch: (error) =>
      new StartupError({
        check: 'kubernetes',
        message: `there is no access to the Kubernetes API: ${messageOf(error)}; run in a pod with a service account, or name a file with \`inventory.kubeconfig\``,
      }),
  }).pipe(
    Effect.flatMap((access) =>
      ApiClient.open(access, {
        userAgent: `sluice/${AGENT_VERSION}`,
        silenceMs: Math.min(LONGEST_SILENCE_MS, Duration.toMillis(watchSilence)),
      }),
    ),
  );
