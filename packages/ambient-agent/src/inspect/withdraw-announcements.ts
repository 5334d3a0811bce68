// Takes back what an agent announced of this node's pods, for a node that is cleaned up without one.
import { ApiClient, openAccess, patchPodAnnotation, PODS } from '@sluice/kubernetes';
import * as Result from 'effect/Result';
import * as Schema from 'effect/Schema';
import { REDIRECTION_ANNOTATION } from '../announce/redirection.js';
import type { AgentConfig } from '../config/config.js';
import { PodObject, podName, type Pod } from '../inventory/model.js';
import { trimPod } from '../inventory/trim.js';
import { messageOf } from '../failure/message-of.js';

export interface Withdrawal {
  /** Names of pods. */
  readonly withdrawn: readonly string[];
  readonly problems: readonly string[];
}

/** In milliseconds: whoever cleans up a node waits for it, also where there is no API server any more. */
const WITHIN_MS = 15_000;
const ATTEMPTS = 3;

const PodList = Schema.Struct({ items: Schema.Array(Schema.Unknown) });

/** Nothing is announced but by way of the API. Never rejects. */
export async function withdrawAnnouncements({
  nodeName,
  inventory: { source, kubeconfig },
}: Pick<AgentConfig, 'nodeName' | 'inventory'>): Promise<Withdrawal> {
  if (source !== 'kubernetes') return { withdrawn: [], problems: [] };
  const withdrawn: string[] = [];
  const problems: string[] = [];
  try {
    using client = new ApiClient(await openAccess(kubeconfig), { silenceMs: WITHIN_MS });
    const signal = AbortSignal.timeout(WITHIN_MS);
    for (const pod of await announcedPods(client, nodeName, signal)) {
      try {
        await patchPodAnnotation(client, pod, REDIRECTION_ANNOTATION, null, { attempts: ATTEMPTS, signal });
        withdrawn.push(podName(pod));
      } catch (error) {
        problems.push(remaining(`pod ${podName(pod)} stays`, error));
      }
    }
  } catch (error) {
    problems.push(remaining(`pods of node ${nodeName} may stay`, error));
  }
  return { withdrawn, problems };
}

async function announcedPods(client: ApiClient, nodeName: string, signal: AbortSignal): Promise<Pod[]> {
  const query = { fieldSelector: `spec.nodeName=${nodeName}` };
  const list = Schema.decodeUnknownSync(PodList)(
    await client.request({ method: 'GET', path: PODS.path, query, signal }),
  );
  // The items of a list bear no type.
  return list.items
    .map((item) => Schema.decodeUnknownResult(PodObject)({ ...(item as object), kind: PODS.kind }))
    .filter(Result.isSuccess)
    .map(({ success }) => trimPod(success))
    .filter(({ annotations }) => annotations[REDIRECTION_ANNOTATION] !== undefined);
}

const remaining = (whose: string, error: unknown): string =>
  `the annotation ${REDIRECTION_ANNOTATION} of ${whose}: ${messageOf(error)}; ` +
  'peers send HBONE to a pod that has it: remove it with kubectl annotate, or restart the pod';
