// What somebody deletes from the maps, changes in them or adds to them while the agent runs is put right within a pass, in every map that
// user space writes: those are read from the table of the maps, which the build keeps current.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { BpfMap } from '@sluice/libbpf';
import { silentListener } from '@sluice/linux';
import { endpoint, requires, type DialResult, type Load, type Pod } from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NodeAgent } from './node-agent.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
const ambient = { 'istio.io/dataplane-mode': 'ambient' };
const traffic = (name: string): string => `traffic.sidecar.istio.io/${name}`;
const wayOf = (result: DialResult): string => (result.ok ? result.hops.map(({ by }) => by).join(' > ') : result.error);

interface TableRow {
  readonly name: string;
  readonly type: string;
  readonly isWrittenByKernel: boolean;
}

/** The maps that user space writes. */
const WRITTEN: readonly TableRow[] = readFileSync(new URL('../../../bpf/maps.md', import.meta.url), 'utf8')
  .split('\n')
  .filter((line) => line.startsWith('| `'))
  .flatMap((line) => {
    const [, name = '', type = '', , , , writers = ''] = line.split('|').map((cell) => cell.trim());
    const by = writers.split(', ');
    return by.includes('user space')
      ? [{ name: name.replaceAll('`', ''), type, isWrittenByKernel: by.length > 1 }]
      : [];
  });

/** A pod is expected as long as there is such an entry, whatever it says. */
const ONLY_KEYS: readonly string[] = ['expected_pods', 'expected_cgroups'];

/** Without these entries nothing on the node can tell that a connection is to be captured: it goes past the mesh until they are back. */
const OPENS: readonly string[] = ['cgroup_info_map', 'netns_info_map', 'included_cidrs'];

type Entries = ReadonlyMap<string, string>;
type Fault = 'deleted' | 'changed' | 'added';
const inverted = (bytes: Buffer): Buffer => Buffer.from(bytes.map((byte) => byte ^ 0xff));

/** Another key of which the kernel accepts that it is one: the first byte of a range's key is its length. */
function otherKey(key: Buffer): Buffer {
  const other = Buffer.from(key);
  const at = Math.min(4, key.length - 1);
  other.writeUInt8(other.readUInt8(at) ^ 0x80, at);
  return other;
}

function damage(map: BpfMap, fault: Fault, entries: readonly (readonly [Buffer, Buffer])[], fd: number): void {
  const value = (present: Buffer): Buffer => {
    if (map.type !== 'sockhash') return inverted(present);
    const descriptor = Buffer.alloc(map.valueSize);
    descriptor.writeBigUInt64LE(BigInt(fd));
    return descriptor;
  };
  for (const [key, present] of entries) {
    if (fault === 'deleted') map.delete(key);
    if (fault === 'changed') map.update(key, value(present));
    if (fault === 'added') map.update(otherKey(key), value(present));
  }
}

describe.skipIf(need.skip)(`the entries of the maps${need.label}`, () => {
  it('of which there is a list', () => {
    expect(WRITTEN.map(({ name }) => name)).toEqual(expect.arrayContaining([...OPENS, ...ONLY_KEYS]));
  });

  /** In at least one of the modes a map has entries. */
  const damaged = new Set<string>();

  describe.each(['inPod', 'node'] as const)('in %s mode', (mode) => {
    let host: NodeAgent;
    let pods: readonly Pod[];
    beforeAll(async () => {
      // The timer never helps.
      const settings = { resyncInterval: '1h', metrics: { listen: '127.0.0.1:0' } };
      host = await (mode === 'inPod' ? NodeAgent.createInPod(settings) : NodeAgent.create(settings));
      host.node.kubernetes.setNamespace('shop', ambient);
      await host.node.ztunnel(mode === 'inPod' ? { mode, zdsSocket: host.zdsSocket } : {});
      const annotations = {
        [traffic('excludeOutboundPorts')]: '9999',
        [traffic('excludeOutboundIPRanges')]: '10.50.0.0/16',
        [traffic('includeOutboundIPRanges')]: '10.0.0.0/8',
      };
      await host.agent.start();
      const pod = { namespace: 'shop', serve: [8080], annotations };
      pods = [
        await host.node.pod({ ...pod, name: 'route' }),
        await host.node.pod({ ...pod, name: 'rewrite', securityContext: { privileged: true } }),
      ];
      for (const { name } of pods) await host.becomes(name, 'in');
    });
    afterAll(() => host?.node.close());

    const outside = (): string => endpoint(host.node.remote.ip4, 80);
    const open = (name: string): BpfMap => BpfMap.openPinned(join(host.bpffs, 'sluice/maps', name));
    const settled = async (): Promise<void> => {
      await expect.poll(async () => (await host.get('/readyz')).status).toBe(200);
      await expect.poll(async () => (await host.sluice('status', '--verify')).code).toBe(0);
    };
    /** Of every kind: the socket that holds connections has its own. */
    const repairs = async (): Promise<number> =>
      [...(await host.get('/metrics')).body.matchAll(/^sluice_repairs_total{kind="(?:entry|holder)"} (\d+)/gm)].reduce(
        (sum, [, count]) => sum + Number(count),
        0,
      );
    const entriesOf = (row: TableRow, map: BpfMap): Entries =>
      new Map(
        [...map.entries()].map(([key, value]) => [
          key.toString('hex'),
          ONLY_KEYS.includes(row.name) ? '' : value.toString('hex'),
        ]),
      );
    const loads = (): Promise<Load[]> =>
      Promise.all(
        pods.flatMap((pod) => [
          pod.load([outside()]),
          ...(mode === 'inPod' ? [host.node.remote.load([endpoint(pod.ip4, 8080)])] : []),
        ]),
      );

    const cases = WRITTEN.flatMap((row) =>
      (['deleted', 'changed', 'added'] as const)
        .filter((fault) => row.type !== 'array' || fault === 'changed')
        .filter((fault) => !row.isWrittenByKernel || fault !== 'added')
        .filter((fault) => !ONLY_KEYS.includes(row.name) || fault === 'deleted')
        .map((fault) => ({ row, fault })),
    );
    it('are as the agent wants them', () => settled());
    it.each(cases)('$row.name: $fault', async ({ row, fault }) => {
      if (row.name === 'expected_pods') {
        await host.node.plan({ namespace: 'shop', name: 'awaited' }).start(['object']);
        await host.becomes('awaited', 'pending');
      }
      using map = open(row.name);
      const before = entriesOf(row, map);
      const each = [...map.entries()].map(([key, value]) => [Buffer.from(key), Buffer.from(value)] as const);
      if (each.length === 0) return;
      damaged.add(row.name);
      using other = silentListener();
      const under = OPENS.includes(row.name) ? [] : await loads();
      const any = each[Math.floor(Math.random() * each.length)];
      for (const entries of any === undefined || each.length === 1 ? [each] : [[any], each]) {
        // A pass that comes before the look puts right, too, and need not count it.
        const count = await repairs();
        await expect
          .poll(async () => {
            damage(map, fault, entries, other.fd);
            await expect.poll(() => entriesOf(row, map)).toEqual(before);
            return repairs();
          })
          .toBeGreaterThan(count);
        await expect.poll(async () => (await host.get('/readyz')).status).toBe(200);
      }
      for (const load of under) {
        await load.progress(2);
        expect(await load.stop()).toMatchObject({ direct: 0 });
      }
      await settled();
      for (const pod of pods) {
        expect(wayOf(await pod.dial(outside()))).toBe('ztunnel > remote');
        if (mode === 'inPod')
          expect(wayOf(await host.node.remote.dial(endpoint(pod.ip4, 8080)))).toBe(`ztunnel > shop/${pod.name}`);
        expect(host.workload(pod.name)?.state).toBe('in');
      }
    });
  });

  it('have all been damaged', () => {
    expect([...damaged].toSorted()).toEqual(WRITTEN.map(({ name }) => name).toSorted());
  });
});
