// What somebody deletes from the maps, changes in them or adds to them while the agent runs is put right within a pass, in every map that
// user space writes: those are read from the table of the maps, which the build keeps current.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { BpfMap } from '@sluice/libbpf';
import { silentListener } from '@sluice/linux';
import { endpoint, requires, type DialResult, type Load, type Pod } from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NodeAgent, eventually } from './node-agent.js';

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

/** How many nodes there are for the cases of a mode: most of a case is waiting for a look of the agent. */
const AT_ONCE = 4;
/** How often entries are damaged until the agent has counted that it put them right. */
const TRIES = 20;

/** Of some maps only the keys count. */
const entriesOf = (row: TableRow, map: BpfMap): Entries =>
  new Map(
    [...map.entries()].map(([key, value]) => [
      key.toString('hex'),
      ONLY_KEYS.includes(row.name) ? '' : value.toString('hex'),
    ]),
  );

/** A node with two pods in the mesh, whose agent is helped by no timer. */
class DamagedNode {
  readonly host: NodeAgent;
  readonly #mode: 'inPod' | 'node';
  #pods: readonly Pod[] = [];
  #turns = 0;

  private constructor(mode: 'inPod' | 'node', host: NodeAgent) {
    this.#mode = mode;
    this.host = host;
  }

  static async create(mode: 'inPod' | 'node'): Promise<DamagedNode> {
    const settings = { resyncInterval: '1h', metrics: { listen: '127.0.0.1:0' } };
    const host = await (mode === 'inPod' ? NodeAgent.createInPod(settings) : NodeAgent.create(settings));
    const node = new DamagedNode(mode, host);
    try {
      await node.#fill();
    } catch (error) {
      await host.node.close();
      throw error;
    }
    return node;
  }

  async #fill(): Promise<void> {
    const { host } = this;
    host.node.kubernetes.setNamespace('shop', ambient);
    await host.node.ztunnel(this.#mode === 'inPod' ? { mode: 'inPod', zdsSocket: host.zdsSocket } : {});
    const annotations = {
      [traffic('excludeOutboundPorts')]: '9999',
      [traffic('excludeOutboundIPRanges')]: '10.50.0.0/16',
      [traffic('includeOutboundIPRanges')]: '10.0.0.0/8',
    };
    await host.agent.start();
    const pod = { namespace: 'shop', serve: [8080], annotations };
    this.#pods = [
      await host.node.pod({ ...pod, name: 'route' }),
      await host.node.pod({ ...pod, name: 'rewrite', securityContext: { privileged: true } }),
    ];
    for (const { name } of this.#pods) await host.becomes(name, 'in');
  }

  async settled(): Promise<void> {
    await this.#ready();
    await this.host.agrees();
  }

  /** Whether the map has entries that could be damaged. */
  async putsRight(row: TableRow, fault: Fault): Promise<boolean> {
    const { host } = this;
    if (row.name === 'expected_pods') {
      await host.node.plan({ namespace: 'shop', name: 'awaited' }).start(['object']);
      await host.becomes('awaited', 'pending');
    }
    using map = BpfMap.openPinned(join(host.bpffs, 'sluice/maps', row.name));
    const before = entriesOf(row, map);
    const each = [...map.entries()].map(([key, value]) => [Buffer.from(key), Buffer.from(value)] as const);
    if (each.length === 0) return false;
    using other = silentListener();
    const under = OPENS.includes(row.name) ? [] : await this.#loads();
    const any = each[Math.floor(Math.random() * each.length)];
    for (const entries of any === undefined || each.length === 1 ? [each] : [[any], each])
      await this.#counts(async () => {
        damage(map, fault, entries, other.fd);
        await eventually(
          () => entriesOf(row, map),
          (entries) => isDeepStrictEqual(entries, before),
        );
        await this.#ready();
      });
    for (const load of under) {
      await load.progress(2);
      expect(await load.stop()).toMatchObject({ direct: 0 });
    }
    await this.settled();
    for (const pod of this.#pods) {
      expect(wayOf(await pod.dial(this.#outside))).toBe('ztunnel > remote');
      if (this.#mode === 'inPod')
        expect(wayOf(await host.node.remote.dial(endpoint(pod.ip4, 8080)))).toBe(`ztunnel > shop/${pod.name}`);
      expect(host.workload(pod.name)?.state).toBe('in');
    }
    return true;
  }

  /** Does it again until the agent has counted a repair: a pass that runs already may put right what no look has found. */
  async #counts(damaged: () => Promise<void>): Promise<void> {
    for (let i = 0; i < TRIES; i++) {
      const count = await this.#repairs();
      await damaged();
      if ((await this.#repairs()) > count) return;
      await this.#passes();
      if ((await this.#repairs()) > count) return;
    }
    expect.fail(`${TRIES} times entries were damaged and put right, and no repair was counted`);
  }

  /** A pass that ran when this was called has ended, and another one. */
  async #passes(): Promise<void> {
    for (let i = 0; i < 2; i++) {
      const count = await this.#sum(/^sluice_reconciles_total (\d+)/gm);
      this.host.node.kubernetes.setNamespace('elsewhere', { turn: String((this.#turns += 1)) });
      await eventually(
        () => this.#sum(/^sluice_reconciles_total (\d+)/gm),
        (sum) => sum > count,
      );
    }
  }

  /** Of every kind: the socket that holds connections has its own. */
  #repairs(): Promise<number> {
    return this.#sum(/^sluice_repairs_total{kind="(?:entry|holder)"} (\d+)/gm);
  }

  async #sum(metric: RegExp): Promise<number> {
    const { body } = await this.host.get('/metrics');
    return [...body.matchAll(metric)].reduce((sum, [, count]) => sum + Number(count), 0);
  }

  /** `expect.poll` is not for tests that run at the same time. */
  async #ready(): Promise<void> {
    await eventually(
      () => this.host.get('/readyz'),
      ({ status }) => status === 200,
    );
  }

  get #outside(): string {
    return endpoint(this.host.node.remote.ip4, 80);
  }

  #loads(): Promise<Load[]> {
    return Promise.all(
      this.#pods.flatMap((pod) => [
        pod.load([this.#outside]),
        ...(this.#mode === 'inPod' ? [this.host.node.remote.load([endpoint(pod.ip4, 8080)])] : []),
      ]),
    );
  }
}

describe.skipIf(need.skip)(`the entries of the maps${need.label}`, () => {
  it('of which there is a list', () => {
    expect(WRITTEN.map(({ name }) => name)).toEqual(expect.arrayContaining([...OPENS, ...ONLY_KEYS]));
  });

  /** In at least one of the modes a map has entries. */
  const damaged = new Set<string>();

  describe.each(['inPod', 'node'] as const)('in %s mode', (mode) => {
    const nodes: DamagedNode[] = [];
    /** Those that no case has: at each node one map is damaged at a time. */
    const free: DamagedNode[] = [];
    const waiting: ((node: DamagedNode) => void)[] = [];
    const take = (): Promise<DamagedNode> => {
      const node = free.shift();
      return node === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(node);
    };
    const giveBack = (node: DamagedNode): void => {
      const next = waiting.shift();
      if (next === undefined) free.push(node);
      else next(node);
    };
    beforeAll(async () => {
      for (let i = 0; i < AT_ONCE; i++) nodes.push(await DamagedNode.create(mode));
      free.push(...nodes);
    });
    afterAll(() => Promise.all(nodes.map(({ host }) => host.node.close())));

    const cases = WRITTEN.flatMap((row) =>
      (['deleted', 'changed', 'added'] as const)
        .filter((fault) => row.type !== 'array' || fault === 'changed')
        .filter((fault) => !row.isWrittenByKernel || fault !== 'added')
        .filter((fault) => !ONLY_KEYS.includes(row.name) || fault === 'deleted')
        .map((fault) => ({ row, fault })),
    );
    it('are as the agent wants them', () => Promise.all(nodes.map((node) => node.settled())));
    it.concurrent.for(cases)('$row.name: $fault', async ({ row, fault }) => {
      const node = await take();
      try {
        if (await node.putsRight(row, fault)) damaged.add(row.name);
      } finally {
        giveBack(node);
      }
    });
  });

  it('have all been damaged', () => {
    expect([...damaged].toSorted()).toEqual(WRITTEN.map(({ name }) => name).toSorted());
  });
});
