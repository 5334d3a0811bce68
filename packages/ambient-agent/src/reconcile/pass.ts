// One pass of the reconciler: what is wanted and what is there, through the enrolment, into the maps; and what there is to
// say about it.
import type { ApplyResult, DesiredMaps } from '@sluice/datapath';
import * as Effect from 'effect/Effect';
import type { AgentConfig } from '../config/config.js';
import { enrol, type KubeletCgroup } from '../enrolment/enrol.js';
import type { WorkloadStatus } from '../enrolment/status.js';
import { discoverZtunnels, type Ztunnels } from '../enrolment/ztunnel.js';
import { InventorySource } from '../inventory/source.js';
import { messageOf } from '../node/checks.js';
import { Enforcement, type EnforcementError } from '../node/enforcement.js';
import { NodeViewError } from '../node/node-view-error.js';
import type { NodeView } from '../node/node-view.js';
import { metrics } from '../observe/metrics.js';
import { reportFailures } from './failures.js';

export interface PassResult {
  readonly statuses: readonly WorkloadStatus[];
  readonly ztunnels: Ztunnels;
  readonly kubelets: readonly KubeletCgroup[];
  readonly hostNetnsCookie: bigint;
  readonly problems: readonly string[];
  readonly applied: ApplyResult;
  /** Of the failures, for counting. */
  readonly failureKinds: readonly string[];
  /** Another pass soon may find more, or get further. */
  readonly isIncomplete: boolean;
}

/** Fails only where nothing could be done; a refused entry is in the result. */
export const reconcilePass = Effect.fnUntraced(function* (
  view: NodeView,
  config: AgentConfig,
  isThorough: boolean,
): Effect.fn.Return<PassResult, EnforcementError | NodeViewError, InventorySource | Enforcement> {
  const source = yield* InventorySource;
  const enforcement = yield* Enforcement;
  const { inventory, problems: inventoryProblems } = yield* source.current;
  const ztunnels = discoverZtunnels(inventory, config);
  const truth = yield* Effect.try({
    try: () => view.read(inventory, ztunnels, isThorough),
    catch: (error) => new NodeViewError({ message: messageOf(error) }),
  });
  const { desired, statuses, isIncomplete } = enrol({ inventory, ztunnels, config, ...truth });
  const applied = yield* enforcement.apply(desired);
  yield* metrics.applied(applied.written, applied.removed);
  yield* countEntries(desired);
  const failures = reportFailures(applied.failures, desired);
  return {
    statuses: statuses.map((status) => {
      const [podLevel] = status.cgroups;
      const more = podLevel === undefined ? undefined : failures.byWorkload.get(BigInt(podLevel.id));
      return more === undefined ? status : { ...status, problems: [...status.problems, ...more] };
    }),
    ztunnels,
    kubelets: truth.kubelets,
    hostNetnsCookie: truth.hostNetnsCookie,
    problems: [...inventoryProblems, ...ztunnels.problems, ...truth.problems, ...failures.others],
    applied,
    failureKinds: failures.kinds,
    isIncomplete: isIncomplete || applied.failures.length > 0,
  };
});

const countEntries = (desired: DesiredMaps): Effect.Effect<void> =>
  Effect.all(
    [
      metrics.entries('cgroup_info_map', desired.cgroups.size),
      metrics.entries('netns_info_map', desired.netns.size),
      metrics.entries('local_pods', desired.localPods.size),
      metrics.entries('exclusions', desired.rules.length),
    ],
    { discard: true },
  );
