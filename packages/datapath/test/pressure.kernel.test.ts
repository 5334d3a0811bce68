// ztunnel does not answer or has no room, or memory or a map is short: connections fail, and nothing stays behind.
import { LineProcess, endpoint, enterCommand, requires, type Pod, type StandInZtunnel } from '@sluice/testbed';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Datapath, cleanup } from '../src/index.js';
import { MeshedNode } from './meshed-node.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');

/** Runs a program of the machine in a pod's network namespace until it ends; false if it failed. */
async function inside(pod: Pod, ...argv: string[]): Promise<boolean> {
  const process = await LineProcess.start(enterCommand({ netns: pod.netns }, argv));
  return (await process.exited).code === 0;
}

describe.skipIf(need.skip)(`connections under pressure${need.label}`, () => {
  let mesh: MeshedNode;
  let ztunnel: StandInZtunnel;
  let pod: Pod;
  let silenced: Pod;
  let to: string;
  const redirected = (): object => ({ by: 'ztunnel', port: 15001, originalDst: to });

  beforeEach(async () => {
    mesh = await MeshedNode.create();
    ztunnel = await mesh.node.ztunnel();
    mesh.setZtunnel(ztunnel);
    pod = await mesh.node.pod({ name: 'a' });
    silenced = await mesh.node.pod({ name: 'silenced' });
    mesh.enrol(pod);
    mesh.enrol(silenced);
    mesh.apply();
    to = endpoint(mesh.node.remote.ip4, 80);
    // Its SYNs arrive, and no answer reaches it.
    expect(await inside(ztunnel.pod, 'ip', 'route', 'add', 'blackhole', `${silenced.ip4}/32`)).toBe(true);
  });
  afterEach(async () => mesh?.close());

  /** Connections that wait for ztunnel, each in a process of its own. */
  async function waiting(count: number): Promise<LineProcess[]> {
    const processes = await Promise.all(Array.from({ length: count }, () => silenced.app.exec(['dial', '--to', to])));
    await expect.poll(() => mesh.handoffs()).toBe(count);
    return processes;
  }

  it('a connection that is given up leaves no hand-off, however it ends', async () => {
    for (const process of await waiting(3)) await process.stop();
    expect(mesh.handoffs()).toBe(0);
    for (const process of await waiting(3)) {
      process.signal('SIGKILL');
      await process.exited;
    }
    expect(mesh.handoffs()).toBe(0);
    const timedOut = await silenced.dial(to, { method: 'nonblock', timeout: 1 });
    expect(timedOut).toMatchObject({ ok: false, error: 'ETIMEDOUT' });
    expect(mesh.handoffs()).toBe(0);
    await waiting(3);
    await silenced.delete();
    await expect.poll(() => mesh.handoffs()).toBe(0);
  });

  it('the origin is right when ztunnel answers with SYN cookies', async () => {
    expect(await inside(ztunnel.pod, 'sysctl', '-w', 'net.ipv4.tcp_syncookies=2')).toBe(true);
    for (const ip of [mesh.node.remote.ip4, mesh.node.remote.ip6, `::ffff:${mesh.node.remote.ip4}`]) {
      const result = await pod.dial(endpoint(ip, 80));
      expect(result.hops.map(({ by }) => by)).toEqual(['ztunnel', 'remote']);
    }
    expect(mesh.handoffs()).toBe(0);
  });

  it('while the map of hand-offs is full ztunnel rejects what it has no origin for, and it is counted', async () => {
    mesh.datapath.close();
    cleanup(mesh.pinDirectory);
    const at = { pinDirectory: mesh.pinDirectory, cgroup: mesh.node.cgroup.path };
    mesh.datapath = Datapath.open({ ...at, capacities: { pendingConnections: 2 } });
    mesh.apply();
    mesh.datapath.activate();
    const processes = await waiting(2);
    const result = await pod.dial(to);
    expect(result.hops).toMatchObject([{ by: 'ztunnel', originalDstFrom: 'local' }, { error: 'self-call' }]);
    expect(mesh.datapath.counters().events).toMatchObject({ 'handoff-full': 1n, 'origin-missing': 1n });
    for (const process of processes) await process.stop();
    expect((await pod.dial(to)).hops[0]).toMatchObject(redirected());
  });

  it('without memory for the origin a connection is refused, or rejected by ztunnel, and it is counted', async (test) => {
    const failures = (): bigint => mesh.datapath.counters().events['storage-failed'];
    const ownLimit = await inside(pod, 'sysctl', '-w', 'net.core.optmem_max=1');
    test.skip(!ownLimit, 'a network namespace has no optmem_max of its own before Linux 6.9');
    expect(await pod.dial(to)).toMatchObject({ ok: false, error: 'ECONNREFUSED' });
    expect(failures()).toBe(1n);
    await inside(pod, 'sysctl', '-w', 'net.core.optmem_max=131072');
    await inside(ztunnel.pod, 'sysctl', '-w', 'net.core.optmem_max=1');
    expect((await pod.dial(to)).hops).toMatchObject([{ originalDstFrom: 'local' }, { error: 'self-call' }]);
    expect(failures()).toBe(2n);
    expect(mesh.handoffs()).toBe(0);
  });
});
