// What the enrolment wants and the datapath writes is read back from the kernel without a difference, whatever pods there are,
// until somebody else writes.
import { join } from 'node:path';
import { compareMaps, Datapath, wantedEntries } from '@sluice/datapath';
import { BpfMap } from '@sluice/libbpf';
import { requires, TestNode } from '@sluice/testbed';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { config, enrolWorld, pod, workload, ztunnelPod } from './world.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');
const uids = ['a', 'b', 'c', 'd'] as const;
const traffic = (name: string): string => `traffic.sidecar.istio.io/${name}`;

const ofPod = fc.record({
  namespace: fc.constantFrom('shop', 'plain'),
  cookie: fc.option(fc.bigInt({ min: 5n, max: 9n }), { nil: undefined }),
  acknowledged: fc.boolean(),
  ips: fc.subarray(['10.0.0.2', '10.0.0.3', 'fd00::2', 'fd00::3']),
  annotations: fc
    .subarray<[string, string]>([
      [traffic('excludeOutboundPorts'), '80,443'],
      [traffic('includeInboundPorts'), ''],
      [traffic('includeInboundPorts'), '8080'],
      [traffic('excludeOutboundIPRanges'), '10.1.0.0/16,fd01::/64'],
      [traffic('includeOutboundIPRanges'), '10.0.0.0/8'],
      ['ambient.istio.io/bypass-inbound-capture', 'true'],
    ])
    .map((pairs) => Object.fromEntries(pairs)),
});
const world = fc.record({
  mode: fc.constantFrom('node', 'inPod'),
  policy: fc.record({ noZtunnel: fc.constantFrom('closed', 'open'), pending: fc.constantFrom('hold', 'open') }),
  pods: fc.array(ofPod, { minLength: uids.length, maxLength: uids.length }),
});

describe.skipIf(need.skip)(`maps that the datapath has written${need.label}`, () => {
  let node: TestNode;
  let datapath: Datapath;
  let pinDirectory: string;
  beforeAll(async () => {
    node = await TestNode.create({ remotePorts: [], remoteDns: false });
    pinDirectory = join(await node.bpffs(), 'sluice');
    datapath = Datapath.open({ pinDirectory, cgroup: node.cgroup.path });
    datapath.activate();
  });
  afterAll(async () => {
    datapath?.close();
    await node?.close();
  });

  it('are what the enrolment wants, and differ in one entry after somebody else has written one', () => {
    fc.assert(
      fc.property(world, fc.nat(), ({ mode, policy, pods }, seed) => {
        const { desired } = enrolWorld({
          pods: [
            ...uids.map((uid, at) => {
              const { namespace = '', ips = [], annotations = {} } = pods[at] ?? {};
              return pod(uid, { namespace, ips, annotations, bornMs: at });
            }),
            ztunnelPod(),
          ],
          workloads: [
            ...uids.map((uid, at) => workload(uid, BigInt(at + 1) * 100n, pods[at]?.cookie)),
            workload('zt', 900n),
          ],
          config: config({ mode, policy }),
          served: {
            acknowledged: new Map(
              uids.flatMap((uid, at) => {
                const { cookie, acknowledged } = pods[at] ?? {};
                return acknowledged === true && cookie !== undefined ? [[uid, cookie] as const] : [];
              }),
            ),
            refusals: new Map(),
            remembered: new Map(),
            isConnected: true,
          },
          capture: {
            obstacles: new Map(),
            prepared: new Set([7n]),
            listeners: new Map([5n, 6n, 7n, 8n].map((cookie) => [cookie, 'transparent'])),
            expected: undefined,
            foreignConnect: undefined,
          },
          addresses: new Map([[5n, ['192.0.2.1', 'fe80::1']]]),
        });
        expect(datapath.apply(desired).failures).toEqual([]);
        const wanted = wantedEntries(desired);
        const found = compareMaps(pinDirectory, wanted);
        expect(found.entries).toEqual([]);
        expect(found.maps.filter(({ id, misfit }) => id === undefined || misfit !== undefined)).toEqual([]);
        const keys = Object.entries(wanted)
          .filter(([name]) => name !== 'config')
          .flatMap(([name, byValue]) => Object.values(byValue).flatMap((of) => of.map((key) => [name, key] as const)));
        const [name, key] = keys[seed % keys.length] ?? [];
        if (name === undefined || key === undefined) return;
        using map = BpfMap.openPinned(join(pinDirectory, 'maps', name));
        map.delete(Buffer.from(key, 'hex'));
        expect(compareMaps(pinDirectory, wanted).entries).toEqual([
          expect.objectContaining({ map: name, wanted: expect.any(String), present: undefined }),
        ]);
      }),
    );
  });
});
