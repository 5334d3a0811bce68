// The gauges about pods, as /metrics has them.
import * as Effect from 'effect/Effect';
import * as Metric from 'effect/Metric';
import { describe, expect, it } from 'vitest';
import { refreshWorkloads } from '../src/state/gauges.js';
import type { WorkloadStatus } from '../src/index.js';

const status = (over: Partial<WorkloadStatus>): WorkloadStatus => ({
  uid: 'u',
  namespace: 'shop',
  name: 'cart',
  ips: [],
  cgroups: [],
  role: 'workload',
  state: 'in',
  reason: '',
  problems: [],
  ...over,
});

const values = (name: string, attribute: string): Effect.Effect<Record<string, number>> =>
  Effect.map(Metric.snapshot, (all) =>
    Object.fromEntries(
      all.flatMap(({ id, attributes, state }) =>
        id === name && 'value' in state ? [[attributes?.[attribute] ?? '', Number(state.value)] as const] : [],
      ),
    ),
  );

describe('pods', () => {
  it('are counted by state and by capture, also those that there are no longer', async () => {
    const counted = Effect.gen(function* () {
      yield* refreshWorkloads([status({ capture: { by: 'route' } }), status({ capture: { by: 'route' } })]);
      yield* refreshWorkloads([status({ capture: { by: 'rewrite', because: 'x' } }), status({ state: 'pending' })]);
      return [yield* values('sluice_workloads', 'state'), yield* values('sluice_captured_workloads', 'by')];
    });
    expect(await Effect.runPromise(counted)).toEqual([
      { in: 1, pending: 1, out: 0, unknown: 0 },
      { route: 0, rewrite: 1 },
    ]);
  });
});
