// Real network namespaces and another process: ztunnel gets the pod's namespace, whatever happens to the pod's processes, and
// the server knows which process it talks to.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, readlinkSync } from 'node:fs';
import { Netns, netnsCookie } from '@sluice/linux';
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
  const open: Netns[] = [];
  const openOf = ({ pid }: ChildProcess): Netns => {
    const netns = Netns.open(`/proc/${pid}/ns/net`);
    open.push(netns);
    return netns;
  };
  beforeAll(async () => {
    for (let i = 0; i < 3; i++) pods.push(await newNetns());
  });
  afterAll(async () => {
    for (const netns of open) netns.close();
    for (const pod of pods) await end(pod);
  });

  it('hands over the very namespace of each pod', async () => {
    const namespaces = pods.map(openOf);
    test.serve(
      namespaces.map((netns, i) => workload(`p${i}`, netns)),
      { allowOwnNetns: false },
    );
    const cookies: bigint[] = [];
    const client = test.client();
    client.onNetns = (fd) => cookies.push(netnsCookie(`/proc/self/fd/${fd}`));
    await client.until((c) => c.ready);
    expect(client.inodes).toEqual(namespaces.map(({ inode }) => inode));
    expect(new Set(client.inodes).size).toBe(3);
    expect(client.inodes).not.toContain(inodeOf('/proc/self/ns/net'));
    expect(cookies).toEqual(namespaces.map(({ cookie }) => cookie));
  });

  it('hands over the namespace that it is lent when the process is gone', async () => {
    const pod = await newNetns();
    const first = openOf(pod);
    const server = test.serve([workload('a', first)]);
    await end(pod);
    const client = await test.client().until((c) => c.ready);
    expect(client.inodes).toEqual([first.inode]);
    // It cannot be found: nothing is sent to ztunnel.
    server.set(workload('a', 'unknown'));
    first.close();
    const [second, third] = pods.map(openOf);
    server.set(workload('b', second));
    await client.until((c) => c.workloads.has('b'));
    expect(client.log).toEqual(['add a', 'snapshot', 'add b']);
    // A new sandbox of the same pod.
    server.set(workload('a', third));
    await client.until((c) => c.inodes.length === 3);
    expect(client.workloads.get('a')?.inode).toBe(third?.inode);
  });

  it('asks for authority with the process that connected, and identifies it by a pidfd', async () => {
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
    using netns = Netns.open(own);
    expect(() => server.set(workload('a', netns))).toThrow('own network namespace');
  });
});
