// Real network namespaces and another process: what ztunnel is handed is the pod's namespace, whatever becomes of the
// pod's processes, and the server knows who it is talking to.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, readlinkSync } from 'node:fs';
import { netnsCookie } from '@sluice/linux';
import { requires } from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ZdsPeer } from '../src/index.js';
import { harness, inodeOf, workload } from './harness.js';

const need = requires('root', 'netns');
const linux = JSON.stringify(new URL('../../linux/dist/index.js', import.meta.url).href);

/** A process in a new network namespace, as a pod's first process is. */
async function newNetns(): Promise<ChildProcess> {
  const child = spawn('unshare', ['--net', 'sh', '-c', 'echo in; exec sleep 600'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  return child;
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
}

describe.skipIf(need.skip)(`ZDS with real namespaces${need.label}`, () => {
  const test = harness();
  const pods: ChildProcess[] = [];
  const pathOf = (index: number): string => `/proc/${pods[index]?.pid}/ns/net`;
  beforeAll(async () => {
    for (let i = 0; i < 3; i++) pods.push(await newNetns());
  });
  afterAll(async () => {
    for (const pod of pods) await end(pod);
  });

  it('hands over the very namespace of each pod', async () => {
    test.serve(
      [0, 1, 2].map((i) => workload(`p${i}`, { path: pathOf(i) })),
      { allowOwnNetns: false },
    );
    const cookies: bigint[] = [];
    const client = test.client();
    client.onNetns = (fd) => cookies.push(netnsCookie(`/proc/self/fd/${fd}`));
    await client.until((c) => c.ready);
    expect(client.inodes).toEqual([0, 1, 2].map((i) => inodeOf(pathOf(i))));
    expect(new Set(client.inodes).size).toBe(3);
    expect(client.inodes).not.toContain(inodeOf('/proc/self/ns/net'));
    expect(cookies).toEqual([0, 1, 2].map((i) => netnsCookie(pathOf(i))));
  });

  it('keeps the namespace that it was given when the process is gone, and takes no other for it', async () => {
    const pod = await newNetns();
    const path = `/proc/${pod.pid}/ns/net`;
    const inode = inodeOf(path);
    const server = test.serve([workload('a', { path })]);
    await end(pod);
    const client = await test.client().until((c) => c.ready);
    expect(client.inodes).toEqual([inode]);
    // The same path again names nothing now: that is an unknown namespace, and no message to ztunnel.
    server.set(workload('a', { path }));
    server.set(workload('b', { path: pathOf(0) }));
    await client.until((c) => c.workloads.has('b'));
    expect(client.log).toEqual(['add a', 'snapshot', 'add b']);
    // A new sandbox of the same pod.
    server.set(workload('a', { path: pathOf(1) }));
    await client.until((c) => c.inodes.length === 3);
    expect(client.workloads.get('a')?.inode).toBe(inodeOf(pathOf(1)));
  });

  it('asks for authority with the process that connected, and shows it by a pidfd', async () => {
    const peers: (ZdsPeer & { fdinfo: string })[] = [];
    test.serve([], {
      authorize: (peer) => {
        peers.push({ ...peer, fdinfo: readFileSync(`/proc/self/fdinfo/${peer.pidfd}`, 'utf8') });
        return false;
      },
    });
    const program = `import { connectSeqpacket } from ${linux};
      const connection = connectSeqpacket(process.argv[1]); await connection.receive(); connection.close();`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program, test.path], { stdio: 'inherit' });
    await test.event('refused');
    await once(child, 'exit');
    expect(peers).toMatchObject([{ pid: child.pid, uid: 0, gid: 0 }]);
    expect(peers[0]?.fdinfo).toMatch(new RegExp(`\\nPid:\\s+${child.pid}\\n`));
  });

  it('never hands out the namespace that it runs in', () => {
    const server = test.serve([], { allowOwnNetns: false });
    const own = `/proc/${process.ppid}/ns/net`;
    expect(readlinkSync(own)).toBe(readlinkSync('/proc/self/ns/net'));
    expect(() => server.set(workload('a', { path: own }))).toThrow('own network namespace');
  });
});
