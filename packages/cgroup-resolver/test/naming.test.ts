// The table of naming schemes: a fixture for each row, the look-alikes, and a round trip.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseCgroupPath, type QosClass } from '../src/index.js';
import { lookAlikes, notContainers, pods } from './fixtures/naming.js';

describe('parseCgroupPath', () => {
  it.each(pods)('reads $scheme', ({ path, podPath, expected }) => {
    expect(parseCgroupPath(path)).toEqual({ ...expected, podPath });
  });

  it.each(lookAlikes)('is not deceived: %s', (_, path) => {
    expect(parseCgroupPath(path)).toBeUndefined();
  });

  it.each(notContainers)('does not take %s for a container', (name) => {
    const pod = '/kubepods/pod5cd8a7c4-2b6e-4e0b-9c1d-0f6f1a2b3c4d';
    expect(parseCgroupPath(`${pod}/${name}`)).toEqual({
      podUid: '5cd8a7c4-2b6e-4e0b-9c1d-0f6f1a2b3c4d',
      qosClass: 'guaranteed',
      podPath: pod,
    });
  });

  it('reads what it would have written', () => {
    fc.assert(
      fc.property(description, (pod) => {
        const { path, podPath } = render(pod);
        const parsed = parseCgroupPath(path);
        expect(parsed).toMatchObject({ podUid: pod.uid, qosClass: pod.qosClass, podPath });
        expect(parsed?.containerId).toBe(pod.container?.id);
      }),
    );
  });

  it('never throws, and names only what the path holds', () => {
    const piece = fc.oneof(
      fc.string({ maxLength: 12 }),
      fc.constantFrom('/', 'kubepods', '.slice', 'besteffort', 'burstable', '-pod', 'pod', '..', ' (deleted)', ':'),
      fc.uuid(),
      hex(64),
      hex(32),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const path = pieces.join('');
        const parsed = parseCgroupPath(path);
        if (parsed === undefined) return;
        expect(path.startsWith(parsed.podPath)).toBe(true);
        expect(parsed.podPath.replaceAll('_', '-')).toContain(parsed.podUid);
        expect(parsed.containerId === undefined).toBe(parsed.runtime === undefined);
        expect(parseCgroupPath(parsed.podPath)).toMatchObject({ podUid: parsed.podUid, podPath: parsed.podPath });
      }),
      { numRuns: 2000 },
    );
  });

  it('stays fast on long paths made to confuse it', () => {
    const long = `/${'a-'.repeat(100_000)}kubepods.slice/${'kubepods-'.repeat(100_000)}/kubepods/besteffort/podx`;
    expect(parseCgroupPath(long)).toBeUndefined();
  });
});

interface Description {
  readonly driver: 'cgroupfs' | 'systemd';
  readonly prefix: string;
  readonly uid: string;
  readonly qosClass: QosClass;
  readonly container: { readonly id: string; readonly name: 'cri-containerd' | 'crio' | 'docker' } | undefined;
  readonly below: string;
}

function hex(length: number): fc.Arbitrary<string> {
  return fc.string({ unit: fc.constantFrom(...Array.from('0123456789abcdef')), minLength: length, maxLength: length });
}

const description: fc.Arbitrary<Description> = fc.record({
  driver: fc.constantFrom('cgroupfs', 'systemd'),
  prefix: fc.constantFrom('', '/kubelet', '/docker/abc', '/../..', '/system.slice/k3s.service'),
  uid: fc.oneof(
    fc.uuid().map((uid) => uid.toLowerCase()),
    hex(32),
  ),
  qosClass: fc.constantFrom('guaranteed', 'burstable', 'besteffort'),
  container: fc.option(fc.record({ id: hex(64), name: fc.constantFrom('cri-containerd', 'crio', 'docker') }), {
    nil: undefined,
  }),
  below: fc.constantFrom('', '/init.scope', '/a/b/c'),
});

/** The inverse of the table: names directories as a kubelet and a runtime would. */
function render(pod: Description): { path: string; podPath: string } {
  const qos = pod.qosClass === 'guaranteed' ? [] : [pod.qosClass];
  const below = pod.container === undefined ? '' : pod.below;
  if (pod.driver === 'cgroupfs') {
    const podPath = [pod.prefix, 'kubepods', ...qos, `pod${pod.uid}`].join('/');
    return { podPath, path: podPath + (pod.container === undefined ? '' : `/${pod.container.id}${below}`) };
  }
  // systemd names a slice after all of its parents.
  const slices = ['kubepods', ...qos, `pod${pod.uid.replaceAll('-', '_')}`];
  const podPath = pod.prefix + slices.map((_, depth) => `/${slices.slice(0, depth + 1).join('-')}.slice`).join('');
  const scope = pod.container === undefined ? '' : `/${pod.container.name}-${pod.container.id}.scope${below}`;
  return { podPath, path: podPath + scope };
}
