// What the maps hold while a new agent takes over pods that an earlier one captured by route.
import { WorkloadFlag } from '@sluice/datapath';
import { describe, expect, it } from 'vitest';
import { nothingSeen } from '../src/enrolment/capture.js';
import { withFormerRoutes } from '../src/reconcile/former-routes.js';
import { config, enrolWorld, pod, workload, ztunnelPod } from './world.js';

const desired = (mode: 'inPod' | 'node', prepared: readonly bigint[] = []) =>
  enrolWorld({
    pods: [pod('a', { ips: ['10.0.0.2'] }), pod('b', { ips: ['10.0.0.3'] }), ztunnelPod()],
    workloads: [workload('a', 100n, 7n), workload('b', 200n, 8n), workload('zt', 300n)],
    config: config({ mode }),
    served: {
      acknowledged: new Map(['a', 'b'].map((uid, index) => [uid, 7n + BigInt(index)])),
    },
    capture: {
      ...nothingSeen,
      prepared: new Set(prepared),
      listeners: new Map(prepared.map((cookie) => [cookie, 'transparent' as const])),
    },
  }).desired;

describe('the maps while an agent takes over', () => {
  it('have the route of a pod that is captured by rewrite from now on, and change nothing else', () => {
    const wanted = desired('inPod');
    const meanwhile = withFormerRoutes(wanted, new Set([7n]));
    const withRoute = <Key, Info extends { id: bigint; flags: number }>(entries: ReadonlyMap<Key, Info>) =>
      new Map(
        [...entries].map(([key, info]) => [
          key,
          info.id === 100n ? { ...info, flags: info.flags | WorkloadFlag.ROUTE } : info,
        ]),
      );
    expect(withRoute(wanted.netns)).not.toEqual(wanted.netns);
    expect(meanwhile).toEqual({ ...wanted, cgroups: withRoute(wanted.cgroups), netns: withRoute(wanted.netns) });
  });

  it('are those that are wanted, if no such pod changes', () => {
    expect(withFormerRoutes(desired('inPod'), new Set())).toBeUndefined();
    expect(withFormerRoutes(desired('inPod', [7n]), new Set([7n]))).toBeUndefined();
    expect(withFormerRoutes(desired('inPod'), new Set([9n]))).toBeUndefined();
    expect(withFormerRoutes(desired('node'), new Set([7n, 8n]))).toBeUndefined();
  });
});
