// Nothing of a testbed is left: after close(), after an interrupt, after its owner was killed.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from 'vitest';
import { Cgroup, cgroup2Root, LineProcess, requires, sweep, TestNode, uniqueName } from '../src/index.js';
import { traces } from './traces.js';

const need = requires('root', 'cgroup2', 'netns', 'runc', 'busybox', 'bpf');
const owner = fileURLToPath(new URL('owner.mjs', import.meta.url));

describe.skipIf(need.skip)(`removal${need.label}`, () => {
  const owners: LineProcess[] = [];
  afterEach(async () => {
    for (const process of owners.splice(0)) {
      process.signal('SIGKILL');
      await process.exited;
    }
    sweep();
  });

  /** Starts a program that makes a node with an API server, pods of both runtimes, a ztunnel and a bpffs, and waits. */
  async function startOwner(): Promise<{ owner: LineProcess; id: string }> {
    const process = await LineProcess.start([globalThis.process.execPath, owner]);
    owners.push(process);
    return { owner: process, id: await process.lineMatching(/^sluice-/) };
  }

  test('close() leaves nothing, and may come twice', async () => {
    const node = await TestNode.create();
    await node.pod({ name: 'a', serve: [80] });
    await node.pod({ name: 'b', runtime: 'runc' });
    await node.ztunnel();
    await node.bpffs();
    expect(traces(node.id)).not.toEqual([]);
    await node.close();
    await node.close();
    expect(traces(node.id)).toEqual([]);
  });

  test('a deleted pod leaves nothing while the node goes on, and its address can be used again', async () => {
    await using node = await TestNode.create({ remotePorts: [] });
    const first = await node.pod({ name: 'a', serve: [80] });
    const kubelet = await node.kubelet();
    expect((await kubelet.dial(`${first.ip4}:80`)).hops[0]?.by).toBe('default/a');
    await first.delete();
    await first.delete();
    expect(existsSync(first.cgroup.path)).toBe(false);
    expect(readdirSync(node.kubernetes.path)).toEqual(['namespace.default.yaml']);
    await node.pod({ name: 'b', ip4: first.ip4, ip6: first.ip6, serve: [80] });
    expect((await kubelet.dial(`${first.ip4}:80`)).hops[0]?.by).toBe('default/b');
  });

  test.each(['SIGTERM', 'SIGINT'] as const)('%s of the owner leaves nothing', async (signal) => {
    const { owner, id } = await startOwner();
    expect(traces(id)).not.toEqual([]);
    owner.signal(signal);
    expect((await owner.exited).signal).toBe(signal);
    expect(traces(id)).toEqual([]);
  });

  test('after SIGKILL of the owner sweep() removes what is left, and only that', async () => {
    await using living = await TestNode.create({ remotePorts: [] });
    const { owner, id } = await startOwner();
    expect(traces(id)).not.toEqual([]);
    owner.signal('SIGKILL');
    await owner.exited;
    // A test elsewhere on the machine may sweep at the same moment and find it first.
    sweep();
    await expect.poll(() => traces(id)).toEqual([]);
    expect(traces(living.id)).not.toEqual([]);
  });

  test('a cgroup is removed with its children and with processes that ignore SIGTERM', async () => {
    const cgroup = new Cgroup(join(cgroup2Root(), uniqueName()));
    const leaf = cgroup.child('a').child('b');
    const script = `echo 0 > ${leaf.path}/cgroup.procs; trap "" TERM; echo in; sleep 1000`;
    const process = await LineProcess.start(['sh', '-c', script]);
    await process.lineMatching(/^in$/);
    expect(leaf.pids).toContain(process.pid);
    cgroup.remove();
    cgroup.remove();
    expect(existsSync(cgroup.path)).toBe(false);
    expect((await process.exited).signal).toBe('SIGKILL');
  });
});
