// Every combination of what decides whether a pod is in the mesh, compared with istio-cni's rules written down a second time
// (istio cni/pkg/util/enablement_selector.go, cni/pkg/nodeagent/informers.go).
import { describe, expect, it } from 'vitest';
import type { Namespace, Pod } from '../src/index.js';
import { config, enrolWorld, pod, workload, ztunnelPod } from './world.js';

const MODE = 'istio.io/dataplane-mode';
const VALUES = [undefined, 'ambient', 'none', 'something-else'] as const;
/** ztunnel's pods are in istio-system; kube-system is excluded; nowhere has no Namespace object. */
const PLACES = ['shop', 'istio-system', 'kube-system', 'nowhere'] as const;
const PHASES: readonly Pod['phase'][] = ['Pending', 'Running', 'Succeeded', 'Failed', 'Unknown'];

const labelled = (value: string | undefined): Record<string, string> => (value === undefined ? {} : { [MODE]: value });

interface Row {
  readonly place: (typeof PLACES)[number];
  readonly ofNamespace: (typeof VALUES)[number];
  readonly ofPod: (typeof VALUES)[number];
  readonly phase: Pod['phase'];
  readonly hostNetwork: boolean;
  readonly sidecar: boolean;
  readonly isZtunnel: boolean;
}

function* rows(): Generator<Row> {
  for (const place of PLACES)
    for (const ofNamespace of VALUES)
      for (const ofPod of VALUES)
        for (const phase of PHASES)
          for (const hostNetwork of [false, true])
            for (const sidecar of [false, true])
              for (const isZtunnel of [false, true])
                yield { place, ofNamespace, ofPod, phase, hostNetwork, sidecar, isZtunnel };
}

/** The decision that istio-cni would make, except that it does not take a pod of which something still runs for ended. */
function isExpected({ place, ofNamespace, ofPod, phase, hostNetwork, sidecar, isZtunnel }: Row): boolean {
  const isTerminal = phase === 'Succeeded' || phase === 'Failed';
  // A pod that has ended does not count as ztunnel.
  const isZtunnelPod = isZtunnel && !isTerminal && place === 'istio-system';
  if (isZtunnelPod || place === 'kube-system' || hostNetwork || sidecar) return false;
  if (ofPod === 'ambient') return true;
  return ofPod !== 'none' && place !== 'nowhere' && ofNamespace === 'ambient';
}

function isEnrolled(row: Row): boolean {
  const { place, ofNamespace, ofPod, phase, hostNetwork, sidecar, isZtunnel } = row;
  const over = {
    namespace: place,
    labels: { ...labelled(ofPod), ...(isZtunnel ? { app: 'ztunnel' } : {}) },
    annotations: sidecar ? { 'sidecar.istio.io/status': '{}' } : {},
    phase,
    hostNetwork,
    ips: ['10.0.0.2'],
  };
  const subject = isZtunnel ? ztunnelPod({ ...over, uid: 'a' }) : pod('a', over);
  const namespaces: Namespace[] = place === 'nowhere' ? [] : [{ name: place, labels: labelled(ofNamespace) }];
  const { statuses, desired } = enrolWorld({ pods: [subject], namespaces, workloads: [workload('a', 100n, 7n)] });
  const inMaps = [...desired.cgroups.values()].some(({ inMesh }) => inMesh);
  expect(inMaps, JSON.stringify(row)).toBe(statuses[0]?.state === 'in');
  return inMaps;
}

describe('membership', () => {
  it('is the same as istio-cni’s, in every combination', () => {
    const wrong = [...rows()].filter((row) => isEnrolled(row) !== isExpected(row));
    expect(wrong).toEqual([]);
  });

  it('is always false without a selector, as with ambient.enabled=false', () => {
    const world = { config: config({ enablementSelectors: [] }), workloads: [workload('a', 100n, 7n)] };
    for (const ofPod of VALUES)
      expect(enrolWorld({ ...world, pods: [pod('a', { labels: labelled(ofPod) })] }).statuses[0]?.state).toBe('out');
  });
});
