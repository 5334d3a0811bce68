// Everything that an API server can do wrong, at random, while real pods start and end and labels change. Afterwards the maps, the
// annotations and the connections have to be exactly what the objects say. SLUICE_CHAOS_SECONDS (30) and SLUICE_CHAOS_SEED
// control the test; it may take longer, because the agent leaves a server in trouble alone for up to half a minute.
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { InstalledDatapath } from '@sluice/datapath';
import { endpoint, PATIENCE_MS, requires, type KubernetesCluster, type Pod, type SentFault } from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NodeAgent } from './node-agent.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
const SECONDS = Number(process.env['SLUICE_CHAOS_SECONDS'] ?? '30');
const SEED = Number(process.env['SLUICE_CHAOS_SEED'] ?? Math.floor(Math.random() * 2 ** 31));

const LABEL = 'istio.io/dataplane-mode';
const NAMESPACES = ['shop', 'press', 'bank'] as const;
const MOST_PODS = 8;
/** The longest pause between two events, in milliseconds. */
const PAUSE_MS = 80;

/** mulberry32: numbers below `limit`; the same seed gives the same ones. */
class Draw {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % limit;
  }

  pick<T>(items: readonly T[]): T | undefined {
    return items[this.below(items.length)];
  }
}

describe.skipIf(need.skip)(
  `the agent beside an API server that misbehaves, SLUICE_CHAOS_SEED=${SEED}${need.label}`,
  () => {
    let host: NodeAgent<KubernetesCluster>;
    const pods = new Set<Pod>();
    const namespaceLabels = new Map<string, Record<string, string>>();
    const podLabels = new Map<Pod, Record<string, string>>();
    const draw = new Draw(SEED);
    const done = new Map<string, number>();
    let names = 0;
    let extras = 0;
    let tokens = 0;
    let token: string;

    beforeAll(async () => {
      host = await NodeAgent.createOnApi({ metrics: { listen: '127.0.0.1:0' } });
      host.configure({
        inventory: {
          source: 'kubernetes',
          kubeconfig: join(host.node.directory, 'rotated.yaml'),
          watchSilence: '500ms',
        },
      });
      const { api } = host.node.kubernetes;
      await api.call('bookmarks', 100);
      token = api.adminToken;
      writeFileSync(join(host.node.directory, 'rotated.yaml'), api.kubeconfig(token));
      for (const name of NAMESPACES) labelNamespace(name, {});
      await host.node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket });
      await create();
      await host.agent.start();
    });
    afterAll(() => host?.node.close());

    function labelNamespace(name: string, labels: Record<string, string>): void {
      namespaceLabels.set(name, labels);
      host.node.kubernetes.setNamespace(name, labels);
    }

    async function create(): Promise<void> {
      names += 1;
      const pod = await host.node.pod({
        namespace: draw.pick(NAMESPACES) ?? 'shop',
        name: `pod-${names}`,
        serve: [8080],
      });
      pods.add(pod);
      podLabels.set(pod, {});
    }

    /** The actions of users. */
    async function change(): Promise<string> {
      const pod = draw.pick([...pods]);
      switch (draw.below(6)) {
        case 0:
          if (pods.size >= MOST_PODS) return 'nothing';
          await create();
          return 'create';
        case 1:
          if (pod === undefined || pods.size < 2) return 'nothing';
          pods.delete(pod);
          await pod.delete();
          return 'delete';
        case 2: {
          const labels = draw.pick([{}, {}, { [LABEL]: 'none' }, { [LABEL]: 'ambient' }]) ?? {};
          if (pod === undefined) return 'nothing';
          podLabels.set(pod, labels);
          pod.update({ labels });
          return 'label pod';
        }
        case 3:
          await pod?.startContainer(`extra-${(extras += 1)}`);
          return 'container';
        default:
          labelNamespace(draw.pick(NAMESPACES) ?? 'shop', draw.below(2) === 0 ? {} : { [LABEL]: 'ambient' });
          return 'label namespace';
      }
    }

    /** The faults of API servers. */
    async function misbehave(): Promise<string> {
      const { api } = host.node.kubernetes;
      const faults: readonly SentFault[] = [
        { kind: 'status', code: draw.pick([429, 500, 503, 504]) ?? 500, retryAfterSeconds: draw.below(2) },
        { kind: 'silence' },
        { kind: 'drop', afterBytes: 1 + draw.below(3000) },
        { kind: 'slow', delayMs: draw.below(400) },
        { kind: 'garbage' },
        { kind: 'gone', how: draw.below(2) === 0 ? 'http' : 'event' },
        { kind: 'end' },
        { kind: 'duplicates', count: 1 + draw.below(20) },
      ];
      switch (draw.below(7)) {
        case 0:
        case 1:
        case 2: {
          const fault = draw.pick(faults) ?? { kind: 'end' };
          const verb = draw.pick(['list', 'watch', 'patch']) ?? 'list';
          // A patch reads no history and is not a watch that could be ended.
          if (verb === 'patch' && !['status', 'silence', 'drop', 'slow', 'garbage'].includes(fault.kind))
            return 'nothing';
          await api.call('inject', fault, { verb, times: 1 + draw.below(3) });
          return `${verb} ${fault.kind}`;
        }
        case 3:
        case 4: {
          const action = draw.pick([
            'corrupt',
            'drop',
            'end',
            'garbage',
            'gone',
            'silence',
            'truncate',
            'bookmark',
          ] as const);
          await api.call('watches', action ?? 'drop');
          return action ?? 'drop';
        }
        case 5:
          if (draw.below(2) === 0) {
            await api.call('compact');
            return 'compact';
          }
          tokens += 1;
          await rotate(`token-${tokens}`);
          return 'token';
        default:
          await host.node.kubernetes.away();
          await change();
          await change();
          await host.node.kubernetes.back();
          return 'away';
      }
    }

    async function rotate(next: string): Promise<void> {
      const { api } = host.node.kubernetes;
      await api.call('allow', next, { name: 'sluice' });
      writeFileSync(join(host.node.directory, 'rotated.yaml'), api.kubeconfig(next));
      if (token !== api.adminToken) await api.call('revoke', token);
      token = next;
    }

    const isWanted = (pod: Pod): boolean => {
      const own = podLabels.get(pod)?.[LABEL];
      return own === 'ambient' || (own !== 'none' && namespaceLabels.get(pod.namespace)?.[LABEL] === 'ambient');
    };
    const inode = (path: string): string => String(statSync(path, { bigint: true }).ino);

    /** What has to be in the maps, computed from the rules and the file system alone. */
    function wantedMaps(): { cgroups: string[]; addresses: string[]; namespaces: number } {
      const wanted = [...pods].filter(isWanted);
      const cgroups = wanted.flatMap((pod) => {
        const id = inode(pod.cgroup.path);
        return [pod.cgroup.path, ...pod.containers.map(({ place }) => place.cgroup)].map(
          (path) => `${inode(path)} of ${id}`,
        );
      });
      return { cgroups: cgroups.sort(), addresses: wanted.flatMap(({ ips }) => ips).sort(), namespaces: wanted.length };
    }

    function maps(): { cgroups: string[]; addresses: string[]; namespaces: number } {
      using installed = InstalledDatapath.open(join(host.bpffs, 'sluice'));
      const { cgroups, localPods, netns } = installed.read();
      const meshed = [...cgroups].filter(([, { inMesh }]) => inMesh).map(([key, { id }]) => `${key} of ${id}`);
      return { cgroups: meshed.sort(), addresses: [...localPods.keys()].sort(), namespaces: netns.size };
    }

    async function announcements(): Promise<string[]> {
      const objects = await host.node.kubernetes.list('Pod');
      return objects
        .filter(({ metadata }) => metadata.annotations?.['ambient.istio.io/redirection'] !== undefined)
        .map(({ metadata }) => `${metadata.name} ${metadata.annotations?.['ambient.istio.io/redirection']}`)
        .sort();
    }

    it(
      `ends with exactly what the objects say, after ${SECONDS} s`,
      async () => {
        const until = Date.now() + SECONDS * 1000;
        while (Date.now() < until) {
          const what = draw.below(3) === 0 ? await misbehave() : await change();
          done.set(what, (done.get(what) ?? 0) + 1);
          await sleep(draw.below(PAUSE_MS));
        }
        await host.node.kubernetes.api.call('clearFaults');
        await host.node.kubernetes.settled();
        const why = `seed ${SEED}: ${JSON.stringify(Object.fromEntries(done))}`;
        const wanted = wantedMaps();
        await expect.poll(maps, { message: why }).toEqual(wanted);
        const enabled = [...pods]
          .filter(isWanted)
          .map(({ name }) => `${name} enabled`)
          .sort();
        await expect.poll(announcements, { message: why }).toEqual(enabled);
        const to = endpoint(host.node.remote.ip4, 80);
        for (const pod of pods) {
          const { ok, error, hops } = await pod.dial(to);
          const way = ok ? hops.map(({ by }) => by).join(' > ') : error;
          expect([pod.name, way], why).toEqual([pod.name, isWanted(pod) ? 'ztunnel > remote' : 'remote']);
        }
        expect(host.agent.process.running, why).toBe(true);
      },
      SECONDS * 1000 + 3 * PATIENCE_MS,
    );
  },
);
