// One agent takes over from another that still runs, as in a rollout that surges: under load, in every way in which either may end.
import { request } from 'node:http';
import { existsSync, readdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { InstalledDatapath, defaultCapacities } from '@sluice/datapath';
import { BpfMap, openObject } from '@sluice/libbpf';
import { connectSeqpacket, errorCode } from '@sluice/linux';
import {
  KUBELET_ORDER,
  endpoint,
  requires,
  without,
  type Agent,
  type Crowd,
  type Load,
  type Pod,
  type StandInZtunnel,
} from '@sluice/testbed';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { NodeAgent } from './node-agent.js';
import { SLUICE } from './program.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
const ambient = { 'istio.io/dataplane-mode': 'ambient' };
const OBJECT = fileURLToPath(new URL('../../datapath/dist/sluice.bpf.o', import.meta.url));
const ECHO = 9000;

describe.skipIf(need.skip)(`two agents of one node${need.label}`, () => {
  let host: NodeAgent;
  let ztunnel: StandInZtunnel;
  let shop: Pod;
  let client: Pod;
  beforeEach(async () => {
    host = await NodeAgent.createInPod({ lock: 'wait', resyncInterval: '1h' });
    host.node.kubernetes.setNamespace('shop', ambient);
    host.node.kubernetes.setNamespace('plain', {});
    ztunnel = await host.node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket });
    shop = await host.node.pod({ namespace: 'shop', name: 'cart', serve: [8080] });
    await shop.serve([ECHO], { echo: true });
    await host.node.remote.serve([ECHO], { echo: true });
    client = await host.node.pod({ namespace: 'plain', name: 'client' });
    await host.agent.start();
    await host.becomes('cart', 'in');
  });
  afterEach(() => host?.node.close());

  let generation = 0;
  const metricsSocket = (): string => join(host.node.directory, `metrics-${generation}.sock`);
  /** Another agent, which stands by; `more` are settings of its own. */
  async function successor(more: Record<string, unknown> = {}): Promise<Agent> {
    generation += 1;
    host.configure({ metrics: { socket: metricsSocket() }, ...more });
    const next = host.node.agent({
      command: [process.execPath, SLUICE, 'run', '--config', host.configPath],
      ready: /"msg":"standing by/,
    });
    await next.start();
    return next;
  }
  /** It has taken over, and ztunnel has its snapshot. */
  const inCharge = async (agent: Agent): Promise<void> => {
    await agent.process.lineMatching(/"msg":"ready"/);
    await expect
      .poll(() => {
        const { state } = host.status();
        return [state.agent.pid, (state.zds?.connections ?? []).filter(({ isSynced }) => isSynced).length];
      })
      .toEqual([agent.process.pid, 1]);
  };
  const outside = (): string => endpoint(host.node.remote.ip4, 80);
  const loads = (): Promise<Load[]> =>
    Promise.all([
      shop.load([outside(), endpoint(host.node.remote.ip6, 80)]),
      client.load([endpoint(shop.ip4, 8080), endpoint(shop.ip6, 8080)]),
      host.node.remote.load([endpoint(shop.ip4, 8080)]),
    ]);
  const nothingLost = async (under: readonly Load[]): Promise<void> => {
    for (const load of under) {
      await load.progress(2);
      const summary = await load.stop();
      expect(summary).toMatchObject({ refused: 0, direct: 0, errors: 0, firstErrors: [] });
      expect(summary.redirected).toBe(summary.attempts);
    }
    expect(ztunnel.protocolErrors).toEqual([]);
    expect(ztunnel.events.filter(({ event }) => event === 'dropped' || event === 'removed')).toEqual([]);
  };
  const ask = (path: string): Promise<{ status: number; body: string }> =>
    new Promise((resolve, reject) => {
      const asked = request({ socketPath: metricsSocket(), path }, (response) => {
        let body = '';
        response.on('data', (part: Buffer) => (body += String(part)));
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
      });
      asked.on('error', reject);
      asked.end();
    });

  it('what waits for ztunnel goes on waiting while one takes over from the other', async () => {
    const next = await successor();
    await ztunnel.kill9();
    // A refusal of any of them would reach its client.
    const waiting = [
      shop.dial(endpoint(host.node.remote.ip6, 80)),
      client.dial(endpoint(shop.ip4, 8080)),
      host.node.remote.dial(endpoint(shop.ip6, 8080)),
    ];
    using installed = InstalledDatapath.open(`${host.bpffs}/sluice`);
    const heldIn = (): unknown =>
      new Set(installed.counters().inbound.flatMap(({ verdict, reason }) => (verdict === 'hold' ? [reason] : [])));
    await expect.poll(heldIn).toEqual(new Set(['outbound', 'no-listener']));
    expect(await host.agent.stop()).toEqual({ code: 0, signal: null });
    expect(installed.canHold()).toBe(true);
    await next.process.lineMatching(/"msg":"ready"/);
    expect(installed.canHold()).toBe(true);
    await ztunnel.start();
    for (const { hops, error } of await Promise.all(waiting)) {
      expect(error).toBe('');
      expect(hops[0]).toMatchObject({ by: 'ztunnel' });
    }
    expect(installed.counters().inbound.filter(({ verdict }) => verdict === 'refuse')).toEqual([]);
  });

  it('the second one is ready, says that it stands by, changes nothing, and takes over at once', async () => {
    const before = host.status().state.agent.pid;
    const next = await successor();
    expect(await ask('/readyz')).toEqual({ status: 200, body: 'ready\n' });
    expect((await ask('/metrics')).body).toMatch(/^sluice_standby 1$/m);
    expect(host.status().warnings).toContain('another agent stands by, and takes over when this one ends');
    expect(host.status().state.agent.pid).toBe(before);
    const under = await loads();
    const crowds: Crowd[] = await Promise.all([
      shop.crowd([endpoint(host.node.remote.ip4, ECHO), endpoint(host.node.remote.ip6, ECHO)], 500),
      client.crowd([endpoint(shop.ip4, ECHO), endpoint(shop.ip6, ECHO)], 500),
    ]);
    // connect() finds one of the two at every moment.
    const refused: (string | undefined)[] = [];
    const knocking = setInterval(() => {
      try {
        connectSeqpacket(host.zdsSocket).close();
      } catch (error) {
        if (errorCode(error) !== 'EAGAIN') refused.push(errorCode(error));
      }
    }, 1);
    expect(await host.agent.stop()).toEqual({ code: 0, signal: null });
    await inCharge(next);
    clearInterval(knocking);
    expect(refused).toEqual([]);
    expect((await ask('/metrics')).body).toMatch(/^sluice_standby 0$/m);
    await nothingLost(under);
    for (const crowd of crowds) expect(await crowd.echo()).toEqual({ alive: 500, broken: {} });
    // A pod that comes now is in the mesh.
    const later = await host.node.pod({ namespace: 'shop', name: 'later' });
    await host.becomes('later', 'in');
    expect((await later.dial(outside())).hops[0]?.by).toBe('ztunnel');
    await next.stop();
  });

  it('loses no connection when the first is killed, nor over several generations', async () => {
    const under = await loads();
    let agent = host.agent;
    for (const end of ['SIGKILL', 'SIGTERM', 'SIGKILL'] as const) {
      const next = await successor();
      agent.process.signal(end);
      await inCharge(next);
      expect(host.workload('cart')?.state).toBe('in');
      agent = next;
    }
    await nothingLost(under);
    await agent.stop();
  });

  it('goes on with the first when the second crashes while it stands by, and with a third', async () => {
    const under = await loads();
    const next = await successor();
    await next.kill9();
    expect(host.status().agent).toBe('running');
    const third = await successor();
    const fourth = await successor();
    await host.agent.stop();
    await inCharge(third);
    await third.kill9();
    await inCharge(fourth);
    await nothingLost(under);
    await fourth.stop();
  });

  it('stays in force when the second crashes right after it has taken over, at whatever point', async () => {
    const under = await loads();
    let agent = host.agent;
    for (const line of [/"msg":"taking over"/, /"msg":"taking over"/, /"msg":"ready"/]) {
      const next = await successor();
      const last = await successor();
      agent.process.signal('SIGTERM');
      await next.process.lineMatching(line);
      await next.kill9();
      await inCharge(last);
      agent = last;
    }
    await nothingLost(under);
    await agent.stop();
  });

  it('ends at once while it stands by when it is told to', async () => {
    const next = await successor();
    expect(await next.stop()).toEqual({ code: 0, signal: null });
    expect(host.status().warnings.join()).not.toMatch(/stands by/);
  });

  it('leaves nothing that `sluice cleanup` does not remove', async () => {
    const next = await successor();
    await host.agent.stop();
    await inCharge(next);
    await next.stop();
    expect((await host.sluice('cleanup')).code).toBe(0);
    expect(readdirSync(host.node.directory)).not.toContain('run');
  });

  it('is refused as before without `lock: wait`, and when it could not take over', async () => {
    host.configure({ lock: 'fail' });
    const second = await host.sluice('run');
    expect([second.code, second.stderr]).toEqual([
      1,
      expect.stringMatching(/^sluice: another agent is running: it holds /),
    ]);
    host.configure({ paths: { bpffs: host.bpffs, runDir: host.runDir, cgroupRoot: '/nowhere' } });
    expect((await host.sluice('run')).code).toBe(1);
    expect(host.status().agent).toBe('running');
  });

  it('upgrades and downgrades maps of another size without a gap', async () => {
    const under = await loads();
    const crowd = await shop.crowd([endpoint(host.node.remote.ip4, ECHO)], 100);
    // A pod that the API does not show yet: only the guard knows that it is expected.
    const late = await host.node.pod({
      namespace: 'shop',
      name: 'late',
      start: without(KUBELET_ORDER, 'object', 'status'),
    });
    const held = await late.load([outside(), endpoint(host.node.remote.ip6, 80)]);
    let agent = host.agent;
    for (const capacities of [Object.fromEntries(Object.keys(defaultCapacities).map((name) => [name, 100])), {}]) {
      const next = await successor({ capacities });
      await agent.stop();
      await inCharge(next);
      agent = next;
    }
    await nothingLost(under);
    expect(await crowd.echo()).toEqual({ alive: 100, broken: {} });
    const { attempts, refused, direct } = await held.stop();
    expect({ refused, direct }).toEqual({ refused: attempts, direct: 0 });
    await agent.stop();
  });

  it('replaces a map of another layout without a gap, whichever map it is', async () => {
    await host.agent.stop();
    const maps = join(host.bpffs, 'sluice/maps');
    using former = openObject(OBJECT, {
      maps: { listeners: { maxEntries: 8 }, routed_netns: { maxEntries: 8 }, port_rules: { maxEntries: 8 } },
    });
    former.load();
    expect(existsSync(maps)).toBe(true);
    const under = await loads();
    for (const name of ['listeners', 'routed_netns', 'port_rules']) {
      unlinkSync(join(maps, name));
      former.map(name).pin(join(maps, name));
    }
    await host.agent.start();
    await nothingLost(under);
    using listeners = BpfMap.openPinned(join(maps, 'listeners'));
    expect(listeners.maxEntries).not.toBe(8);
    await host.agent.stop();
  });
});
