// How long the addresses of a pod that leaves stay in the maps.
import { describe, expect, it } from 'vitest';
import { LingeringAddresses } from '../src/reconcile/lingering-addresses.js';
import { config, enrolWorld, pod, workload } from './world.js';

describe('the addresses of a pod that leaves the mesh', () => {
  const desired = (labels: Record<string, string>) =>
    enrolWorld({
      pods: [pod('a', { ips: ['10.0.0.2'], labels })],
      workloads: [workload('a', 100n, 7n)],
      config: config({ mode: 'inPod' }),
      served: { acknowledged: new Map([['a', 7n]]) },
    }).desired;
  const inside = desired({});
  const out = desired({ 'istio.io/dataplane-mode': 'none' });
  const own = new Map([[7n, ['10.0.0.2']]]);

  it('stay until its namespace is restored, and nothing else of it does', () => {
    const lingering = new LingeringAddresses();
    expect(lingering.extend(inside, () => true)).toEqual({ desired: inside, isLeft: false });
    expect(lingering.extend(out, () => true)).toEqual({ desired: { ...out, ownAddresses: own }, isLeft: true });
    expect(lingering.extend(out, () => true)).toEqual({ desired: { ...out, ownAddresses: own }, isLeft: false });
    expect(lingering.extend(out, () => false)).toEqual({ desired: out, isLeft: false });
    expect(lingering.extend(out, () => true)).toEqual({ desired: out, isLeft: false });
  });

  it('are what they are when it comes back meanwhile', () => {
    const lingering = new LingeringAddresses();
    lingering.extend(inside, () => true);
    lingering.extend(out, () => true);
    expect(lingering.extend(inside, () => true)).toEqual({ desired: inside, isLeft: false });
    expect(lingering.extend(out, () => true).isLeft).toBe(true);
  });
});
