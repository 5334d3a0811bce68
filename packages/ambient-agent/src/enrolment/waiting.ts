// What becomes of a pod's new connections while they cannot reach ztunnel: the pod is pending, or it is in the mesh and no ztunnel
// listens for it.
import { WorkloadFlag } from '@sluice/datapath';
import type { AgentConfig } from '../config/config.js';
import type { Namespace, Pod } from '../inventory/model.js';
import { quoted } from './quoted.js';

/** On pods and namespaces; that of the pod wins, and both win over the node's configuration. */
export const WAITING_ANNOTATION = 'sluice/waiting';

/** `hold`: they wait, and go on when ztunnel listens. `open`: they go directly. */
export const WAITING = ['hold', 'refuse', 'open'] as const;
export type Waiting = (typeof WAITING)[number];

export interface WaitingPolicy {
  readonly waiting: Waiting;
  /** Bits of WorkloadFlag. */
  readonly flags: number;
  readonly problems: readonly string[];
}

interface Asked {
  readonly pod: Pick<Pod, 'annotations'>;
  /** Undefined if the inventory does not have it. */
  readonly namespace: Namespace | undefined;
  readonly policy: Pick<AgentConfig['policy'], 'pending' | 'noZtunnel'>;
  readonly isPending: boolean;
  /** Whether it has been without ztunnel for longer than connections are held. */
  readonly isOverdue: boolean;
}

const FLAGS: Readonly<Record<Waiting, number>> = {
  hold: 0,
  refuse: WorkloadFlag.REFUSE_WAITING,
  open: WorkloadFlag.OPEN_WAITING,
};

/** Both flags that say so: in every entry, user space has decided about them. */
export const WAITING_FLAGS = WorkloadFlag.REFUSE_WAITING | WorkloadFlag.OPEN_WAITING;

const isWaiting = (text: string): text is Waiting => WAITING.some((known) => known === text);

/** Pure. An annotation that says none of the three counts as absent. */
export function waitingPolicy({ pod, namespace, policy, isPending, isOverdue }: Asked): WaitingPolicy {
  const problems: string[] = [];
  const said = (annotations: Readonly<Record<string, string>> | undefined, whose: string): Waiting | undefined => {
    if (annotations === undefined || !Object.hasOwn(annotations, WAITING_ANNOTATION)) return undefined;
    const value = annotations[WAITING_ANNOTATION] ?? '';
    if (isWaiting(value)) return value;
    problems.push(
      `annotation ${WAITING_ANNOTATION}${whose}: ${quoted(value)} is none of ${WAITING.join(', ')}; it counts as absent`,
    );
    return undefined;
  };
  const ofPod = said(pod.annotations, '');
  const ofNamespace = said(namespace?.annotations, ` of namespace ${namespace?.name}`);
  const wanted = ofPod ?? ofNamespace ?? (isPending ? policy.pending : policy.noZtunnel);
  const waiting = wanted === 'hold' && isOverdue ? 'refuse' : wanted;
  if (waiting !== wanted)
    problems.push('it has been without ztunnel for longer than `policy.holdLimit`: its new connections are refused');
  return { waiting, flags: FLAGS[waiting], problems };
}
