// An agent takes over and wants another size for the maps of connections that are being made: none of them is lost, nothing of them stays, and
// the maps stay the same.
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { BpfMap, openObject } from '@sluice/libbpf';
import {
  LineProcess,
  Load,
  endpoint,
  enterCommand,
  peerProgram,
  requires,
  type HostProcess,
  type Pod,
} from '@sluice/testbed';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Datapath, cleanup, defaultCapacities as DEFAULT } from '../src/index.js';
import { OBJECT_PATH } from '../src/layout.js';
import { InPodNode, type Capture } from './in-pod-node.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');
const IDLE_CLIENT = fileURLToPath(new URL('idle-client.mjs', import.meta.url));
const ECHO_PORT = 81;
const EXCHANGES = 6;

describe.skipIf(need.skip).each<Capture>(['route', 'rewrite'])(
  `connections while the maps of them are exchanged, captured by %s${need.label}`,
  (capture) => {
    let world: InPodNode;
    let kubelet: HostProcess;
    let pod: Pod;

    beforeEach(async () => {
      world = await InPodNode.create({ capture });
      kubelet = await world.mesh.node.kubelet();
      world.mesh.setKubelet(kubelet);
      world.mesh.settings = { ...world.mesh.settings, sampleEvery: 0 };
      pod = await world.pod({ name: 'a', serve: [80] });
      await pod.serve([ECHO_PORT], { echo: true });
    });
    afterEach(() => world?.close());

    let size = 1000;
    /** As an agent does it that takes over, until its programs are in force. */
    function takeOver(): Datapath {
      const { mesh } = world;
      size += 1;
      const next = Datapath.open({
        pinDirectory: mesh.pinDirectory,
        cgroup: mesh.node.cgroup.path,
        capacities: { pendingConnections: size, exemptConnections: size },
      });
      mesh.datapath.close();
      mesh.datapath = next;
      mesh.apply();
      next.pinMaps();
      expect(next.keptSizes).toEqual([
        { map: 'origin_handoff', capacity: 'pendingConnections', wanted: size, maxEntries: DEFAULT.pendingConnections },
        { map: 'exempt_tuples', capacity: 'exemptConnections', wanted: size, maxEntries: DEFAULT.exemptConnections },
      ]);
      return next;
    }
    async function exchange(meanwhile?: () => Promise<unknown>): Promise<void> {
      const next = takeOver();
      await meanwhile?.();
      expect(next.activate().failures).toEqual([]);
    }

    const fromKubelet = (argv: readonly string[]): Promise<LineProcess> =>
      LineProcess.start(enterCommand({ cgroup: kubelet.cgroup.path, netns: world.mesh.node.netns.path }, argv));

    const nothingIsLeft = (): Promise<void> =>
      expect.poll(() => [world.exemptTuples(), world.mesh.handoffs()]).toEqual([0, 0]);

    /** An agent that ends when only some of its programs are in force. */
    function crash(isInForce: (program: string) => boolean): void {
      const next = takeOver();
      const plan = new Map([...next.everything()].filter(([program]) => isInForce(program)));
      expect(next.attach(plan).failures).toEqual([]);
    }

    it('under load: none is lost, and no tuple stays', async () => {
      const { remote } = world.mesh.node;
      const targets = pod.ips.map((ip) => endpoint(ip, 80));
      const loads: Load[] = [
        await pod.load([endpoint(remote.ip4, 80), endpoint(remote.ip6, 80)]),
        await remote.load(targets),
        await Load.start({ exec: (args) => fromKubelet([peerProgram(), ...args]) }, targets),
      ];
      for (let i = 0; i < EXCHANGES; i++) {
        for (const load of loads) await load.progress(20);
        await exchange();
        if (i % 4 === 1) crash((program) => program === 'sluice_sockops');
        if (i % 4 === 2) crash((program) => program !== 'sluice_sockops');
        if (i % 4 === 3) crash(() => false);
      }
      for (const load of loads) {
        await load.progress(20);
        expect(await load.stop()).toMatchObject({ refused: 0, errors: 0, firstErrors: [] });
      }
      await nothingIsLeft();
    });

    it('when no program is attached, the maps have the size that is wanted', async () => {
      const { mesh } = world;
      mesh.datapath.close();
      cleanup(mesh.pinDirectory);
      mesh.datapath = Datapath.open({
        pinDirectory: mesh.pinDirectory,
        cgroup: mesh.node.cgroup.path,
        capacities: { pendingConnections: size, exemptConnections: size },
      });
      mesh.apply();
      mesh.datapath.activate();
      expect(mesh.datapath.keptSizes).toEqual([]);
      for (const name of ['origin_handoff', 'exempt_tuples']) {
        using map = BpfMap.openPinned(`${mesh.pinDirectory}/maps/${name}`);
        expect(map.maxEntries).toBe(size);
      }
    });

    it('a map that an agent has pinned and nobody uses yet is not taken for the one in use', async () => {
      const { pinDirectory } = world.mesh;
      for (const name of ['origin_handoff', 'exempt_tuples'] as const) {
        const pin = `${pinDirectory}/maps/${name}`;
        using inUse = BpfMap.openPinned(pin);
        const { id } = inUse;
        rmSync(pin);
        using other = openObject(OBJECT_PATH, { maps: { [name]: { maxEntries: 5 } }, autoload: () => false });
        other.load();
        other.map(name).pin(pin);
        await exchange();
        using after = BpfMap.openPinned(pin);
        expect(after.id).toBe(id);
      }
    });

    const speaker = async (): Promise<LineProcess> => {
      const client = await fromKubelet([process.execPath, IDLE_CLIENT, pod.ip4, String(ECHO_PORT)]);
      expect(await client.nextLine()).toBe('heard');
      return client;
    };
    const ends = {
      'says something': async (client: LineProcess) => {
        client.writeLine('say something');
        expect(await client.nextLine()).toBe('echoed');
      },
      'is closed': async (client: LineProcess) => {
        client.signal('SIGKILL');
        await client.exited;
      },
    };
    it.each(Object.keys(ends) as (keyof typeof ends)[])('one that is quiet leaves nothing when it %s', async (end) => {
      const clients: LineProcess[] = [];
      const begin = async (): Promise<unknown> => clients.push(await speaker());
      for (const [began, ended] of [
        ['before', 'meanwhile'],
        ['before', 'after'],
        ['meanwhile', 'meanwhile'],
        ['meanwhile', 'after'],
        ['two before', 'after'],
      ]) {
        const finish = async (): Promise<void> => {
          for (const client of clients) await ends[end](client);
        };
        if (began !== 'meanwhile') await begin();
        if (began === 'two before') await exchange();
        await exchange(async () => {
          if (began === 'meanwhile') await begin();
          if (ended === 'meanwhile') await finish();
        });
        if (ended === 'after') {
          expect(world.exemptTuples()).toBe(1);
          await finish();
        }
        await nothingIsLeft();
        for (const client of clients.splice(0)) await client.stop();
      }
    });
  },
);
