// The claims of an agent's state about what the kernel has.
import { desiredOf, WorkloadFlag, type AttachPlan, type WantedEntries } from '@sluice/datapath';
import type { DatedStatus } from '../enrolment/status.js';
import { messageOf } from '../failure/message-of.js';
import type { AgentState } from '../state/state.js';
import { InspectError } from './errors.js';

/** The network namespace of a pod that is in the mesh or pending. */
export interface ClaimedNetns {
  readonly cookie: bigint;
  readonly pod: DatedStatus;
  /** In `inPod` mode, whether ztunnel is to listen in it. */
  readonly isServed: boolean;
  /** Whether ztunnel has acknowledged that it listens. */
  readonly isAcknowledged: boolean;
  /** Whether what goes out of the pod is captured by route. */
  readonly isRouted: boolean;
}

export interface Claims {
  readonly state: AgentState;
  readonly maps: WantedEntries;
  /** Where the programs are attached. */
  readonly plan: AttachPlan;
  readonly netns: readonly ClaimedNetns[];
}

/** Pure. @throws InspectError no-state if the state is from an agent of another version */
export function claimsOf(state: AgentState): Claims {
  const { maps, programs } = state;
  const other = (why: string): InspectError =>
    new InspectError(
      'no-state',
      `the agent of version ${state.agent.version} ${why}; use the command that came with it`,
    );
  if (maps === undefined) throw other('does not say what the maps ought to hold');
  if (programs === undefined) throw other('does not say where the programs ought to be attached');
  const plan = new Map(
    Object.entries(programs).map(([name, at]) => [name, at.map(({ path, id }) => ({ path, id: BigInt(id) }))]),
  );
  const byWorkload = new Map(state.workloads.map((pod) => [pod.cgroups[0]?.id, pod]));
  try {
    const netns = [...desiredOf(maps).netns].flatMap(([cookie, { id, flags }]) => {
      // Nothing is done in a namespace that lies inside of a pod.
      const pod = (flags & WorkloadFlag.NESTED) === 0 ? byWorkload.get(String(id)) : undefined;
      const isServed = (flags & WorkloadFlag.IN_POD) !== 0;
      const isAcknowledged = isServed && (flags & WorkloadFlag.PENDING) === 0;
      const isRouted = (flags & WorkloadFlag.ROUTE) !== 0;
      return pod === undefined ? [] : [{ cookie, pod, isServed, isAcknowledged, isRouted }];
    });
    return { state, maps, plan, netns };
  } catch (error) {
    throw other(`has maps of another layout (${messageOf(error)})`);
  }
}
