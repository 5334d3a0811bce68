// Pods beyond the capacities are held as a whole, and nobody else notices.
import type { NetnsRef } from '@sluice/cgroup-resolver';
import { WorkloadFlag, type Capacities } from '@sluice/datapath';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { withinCapacities, withReserve, type Enrolment } from '../src/index.js';
import { LingeringAddresses } from '../src/reconcile/lingering-addresses.js';
import { config, enrolWorld, pod, workload, ztunnelPod } from './world.js';

const settings = config({ mode: 'inPod' });
/**
 * Each has three cgroups, one namespace, two IPs and one rule; the oldest first. `more` says how many namespaces there are inside of each,
 * and how many of its addresses the API does not report.
 */
const full = (count: number, more = { nested: 0, unreported: 0 }): Enrolment => {
  const names = Array.from({ length: count }, (_, i) => `pod-${i}`);
  const cookies = new Map(names.map((name, i) => [name, BigInt(100 + i)]));
  return enrolWorld({
    config: settings,
    pods: [
      ...names.map((name, i) =>
        pod(name, {
          ips: more.unreported > 0 ? [] : [`10.1.0.${i}`, `fd00::1:${i}`],
          annotations: { 'traffic.sidecar.istio.io/excludeOutboundPorts': '9000' },
          bornMs: i,
        }),
      ),
      ztunnelPod(),
    ],
    workloads: [
      ...names.map((name, i) => {
        const own = workload(name, BigInt(1000 + 10 * i), cookies.get(name));
        const inside = (_: unknown, n: number): NetnsRef[] =>
          own.netns === undefined ? [] : [{ ...own.netns, cookie: BigInt(10_000 + 100 * i + n) }];
        return { ...own, nested: Array.from({ length: more.nested }, inside).flat() };
      }),
      workload('zt', 1n),
    ],
    served: { acknowledged: cookies, refusals: new Map(), isConnected: true, remembered: new Map() },
    addresses: new Map(
      [...cookies].map(([, cookie], i) => [
        cookie,
        Array.from({ length: 1 + more.unreported }, (_, n) => [`10.1.${n}.${i}`, `fd00::${n + 1}:${i}`]).flat(),
      ]),
    ),
  });
};
const stateOf = ({ statuses }: Enrolment): Map<string, string> =>
  new Map(statuses.filter(({ role }) => role === 'workload').map(({ name, state }) => [name, state]));
const ample = settings.capacities;
const needs: Partial<Record<keyof Capacities, number>> = {
  cgroups: 3,
  netns: 1,
  localPods: 2,
  ownAddresses: 2,
  excludedPorts: 1,
};

describe('the capacities', () => {
  it('are not used up by one pod that makes cgroups below its own', () => {
    const greedy = workload('greedy', 1000n, 100n);
    const otherCgroups = Array.from({ length: 20_000 }, (_, i) => ({
      cgroupPath: `${greedy.pod.cgroupPath}/c1/n${i}`,
      cgroupId: BigInt(10_000 + i),
    }));
    const { desired, statuses } = enrolWorld({
      config: settings,
      pods: [pod('greedy', { ips: ['10.1.0.1'] }), ztunnelPod()],
      workloads: [{ ...greedy, pod: { ...greedy.pod, otherCgroups } }, workload('zt', 1n)],
    });
    const own = [...desired.cgroups].filter(([, { id }]) => id === 1000n).map(([cgroupId]) => cgroupId);
    expect(own).toHaveLength(64);
    expect(own).toEqual(expect.arrayContaining([1000n, 1001n]));
    expect(statuses.find(({ name }) => name === 'greedy')?.cgroups).toHaveLength(20_002);
  });

  it.each(Object.entries(needs))(
    '%s for ten pods, and twelve pods: the two newest are pending, with the reason',
    (name, each) => {
      const capacities = { ...ample, [name]: 10 * each };
      const result = withinCapacities(full(12), capacities);
      const states = stateOf(result);
      expect([...states].filter(([, state]) => state === 'pending').map(([pod]) => pod)).toEqual(['pod-10', 'pod-11']);
      expect([...states.values()].filter((state) => state === 'in')).toHaveLength(10);
      const { reason } = result.statuses.find((status) => status.name === 'pod-11') ?? { reason: '' };
      expect(reason).toBe(
        `pending: there is no room for it: it needs ${each} of capacities.${name}, and ${10 * each} of ${10 * each} are taken; raise that number in the configuration, or run fewer pods on this node`,
      );
      // Both directions are held, and their probes are answered.
      for (const info of [result.desired.cgroups.get(1110n), result.desired.netns.get(111n)])
        expect((info?.flags ?? 0) & WorkloadFlag.PENDING).not.toBe(0);
      expect(result.desired.localPods.get('10.1.0.11')?.netnsCookie).toBe(111n);
      expect(result.served).toHaveLength(12);
      expect(result.desired.cgroups.get(1n)?.flags).toBe(WorkloadFlag.ZTUNNEL);
    },
  );

  it('change nothing while they suffice', () => {
    const enrolment = full(12);
    expect(withinCapacities(enrolment, ample)).toBe(enrolment);
  });

  it('have a reserve for the addresses of pods that have lost their room to older ones', () => {
    const capacities = { ...ample, ownAddresses: 20 };
    const lingering = new LingeringAddresses();
    const { desired } = withinCapacities(full(20), capacities);
    const withRoom = [...desired.ownAddresses];
    const ofYounger = new Map(withRoom.map(([cookie, ips]) => [cookie + 10n, ips]));
    lingering.extend({ ...desired, ownAddresses: ofYounger }, () => true);
    const { ownAddresses } = lingering.extend(desired, () => true).desired;
    expect([...ownAddresses.values()].flat()).toHaveLength(40);
    expect(withReserve(capacities).ownAddresses).toBeGreaterThanOrEqual(40);
  });

  it('are never exceeded beyond the reserve, every pod is in the mesh or held, and who is in does not depend on later pods', () => {
    const size = fc.integer({ min: 1, max: 40 });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 20 }),
        fc.record({ cgroups: size, netns: size, localPods: size, ownAddresses: size, excludedPorts: size }),
        fc.record({ nested: fc.nat({ max: 20 }), unreported: fc.nat({ max: 6 }) }),
        (count, some, more) => {
          const capacities = { ...ample, ...some };
          const { desired, ...result } = withinCapacities(full(count, more), capacities);
          const sizes = withReserve(capacities);
          expect(desired.cgroups.size).toBeLessThanOrEqual(sizes.cgroups);
          expect(desired.netns.size).toBeLessThanOrEqual(sizes.netns);
          expect(desired.localPods.size).toBeLessThanOrEqual(sizes.localPods);
          const addresses = [...desired.ownAddresses.values()].flat().length;
          expect(addresses).toBeLessThanOrEqual(capacities.ownAddresses);
          expect(desired.rules.length).toBeLessThanOrEqual(capacities.excludedPorts);
          for (const { state, cgroups } of result.statuses) {
            const info = desired.cgroups.get(BigInt(cgroups[0]?.id ?? 0));
            if (state === 'pending') expect((info?.flags ?? 0) & WorkloadFlag.PENDING).not.toBe(0);
            else expect(info).toBeDefined();
            // It has all of its addresses, or those that its probes need.
            const own = [...desired.localPods.values()].filter(
              (local) => desired.netns.get(local.netnsCookie)?.id === info?.id,
            );
            if (state === 'pending') expect(own.length).toBeLessThanOrEqual(2);
            if (state === 'pending') expect(desired.localPods.has(info?.ip ?? '')).toBe(true);
          }
          const fewer = stateOf(withinCapacities(full(count - 1, more), capacities));
          const all = stateOf({ desired, ...result });
          for (const [name, state] of fewer) expect(all.get(name)).toBe(state);
        },
      ),
    );
  });
});
