// The server itself: who may speak, limits, sizes, its socket, and its end.
import { existsSync, readdirSync, unlinkSync } from 'node:fs';
import { listenSeqpacket, SystemCallError } from '@sluice/linux';
import { describe, expect, it } from 'vitest';
import { ZdsError, ZdsServer, type ZdsPeer } from '../src/index.js';
import { harness, inodeOf, netnsAt, netnsPath, workload } from './harness.js';
import { helloBytes } from './zds-client.js';

const test = harness();
const openDescriptors = (): number => readdirSync('/proc/self/fd').length;

describe('who may speak', () => {
  it('is asked with the peer’s identity and a pidfd of it', async () => {
    const peers: ZdsPeer[] = [];
    test.serve([workload('a')], {
      authorize: async (peer) => {
        peers.push(peer);
        return peer.pidfd !== undefined && peer.pid === process.pid;
      },
    });
    await test.client().until((c) => c.ready);
    expect(peers).toMatchObject([{ pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() }]);
  });

  it.each<[string, () => boolean | Promise<boolean>, string]>([
    ['a no', () => false, 'this peer may not speak'],
    ['something that is not true', () => 'yes' as unknown as boolean, 'this peer may not speak'],
    [
      'a throw',
      () => {
        throw new Error('no cgroup');
      },
      'whether it may speak could not be decided: no cgroup',
    ],
    ['a rejection', () => Promise.reject(new Error('gone')), 'whether it may speak could not be decided: gone'],
    ['no answer', () => new Promise<boolean>(() => undefined), 'no decision in 60 ms whether it may speak'],
  ])('%s refuses, and nothing is sent', async (_, authorize, reason) => {
    const server = test.serve([workload('a')], { authorize, deadlineMs: 60 });
    const peer = test.rude();
    expect(await test.event('refused')).toMatchObject({ reason, peer: { pid: process.pid } });
    expect(await peer.receive()).toBeUndefined();
    expect(server.metrics()).toMatchObject({ connectionsRefused: 1, connectionsAccepted: 0, addsSent: 0 });
  });

  it('is at most so many at once', async () => {
    test.serve([workload('a')], { maxConnections: 2 });
    const first = test.rude();
    await first.send(helloBytes());
    test.rude();
    test.rude();
    expect(await test.event('refused')).toMatchObject({ reason: 'there are 2 connections already' });
    first.close();
    await test.event('disconnected');
    await test.client().until((c) => c.ready);
  });

  it('waits in the kernel’s queue when connections come faster than they are accepted', async () => {
    // One per 1000 s: the second one is not accepted during this test, however much happens meanwhile.
    const server = test.serve([workload('a')], { acceptsPerSecond: 0.001 });
    const first = await test.client().until((c) => c.ready);
    const second = test.client();
    for (let i = 0; i < 50; i++) {
      server.set(workload(`b${i}`));
      await first.until((c) => c.workloads.has(`b${i}`));
    }
    expect(second.log).toEqual([]);
    expect(server.metrics()).toMatchObject({ connectionsAccepted: 1, connectionsRefused: 0 });
  });
});

describe('workloads', () => {
  it('are a thousand in one snapshot', async () => {
    const uids = Array.from({ length: 1000 }, (_, i) => `pod-${i}`);
    const server = test.serve(uids.map((uid, i) => workload(uid, netnsAt(i))));
    const client = await test.client().until((c) => c.ready);
    expect(client.log).toEqual([...uids.map((uid) => `add ${uid}`), 'snapshot']);
    expect(client.inodes).toEqual(uids.map((_, i) => inodeOf(netnsPath(i))));
    await test.event('synced');
    expect(server.metrics()).toMatchObject({ workloads: 1000, workloadsUnacked: 0, acks: 1001 });
  });

  it('with names as long as Kubernetes allows fit; longer ones are refused with a reason', async () => {
    const long = {
      uid: '8d0e3f5c-1f35-4c3e-9a55-7f4f6f0f8a11',
      name: 'n'.repeat(253),
      namespace: 's'.repeat(63),
      serviceAccount: 'a'.repeat(253),
      netns: netnsAt(),
    };
    const server = test.serve([long]);
    const client = await test.client().until((c) => c.ready);
    expect(client.workloads.get(long.uid)?.info.name).toBe(long.name);
    const tooLong = { ...long, uid: 'x', name: 'n'.repeat(700) };
    expect(() => server.set(tooLong)).toThrow(/1033 bytes, and ztunnel reads at most 1024; shorten the names/);
    expect(server.replace([long, tooLong, workload('b')])).toMatchObject([
      { uid: 'x', error: { code: 'message-too-long' } },
    ]);
    await client.until((c) => c.workloads.has('b'));
    expect([...client.workloads.keys()]).toEqual([long.uid, 'b']);
  });

  it('must have a uid', () => {
    const server = test.serve([]);
    expect(() => server.set(workload(''))).toThrow(ZdsError);
    expect(server.metrics().workloads).toBe(0);
  });

  it('never get the node’s own namespace', () => {
    const server = test.serve([], { allowOwnNetns: false });
    expect(() => server.set(workload('a'))).toThrow(/ztunnel would capture the node/);
    expect(server.replace([workload('a')])).toMatchObject([{ uid: 'a', error: { code: 'own-netns' } }]);
  });

  it('open no descriptor of their own', async () => {
    const server = test.serve([]);
    await test.client().until((c) => c.ready);
    for (let i = 0; i < 5; i++) netnsAt(i);
    const before = openDescriptors();
    for (let round = 0; round < 3; round++) {
      server.replace(['a', 'b', 'c'].map((uid, i) => workload(uid, netnsAt(i + round))));
      expect(openDescriptors()).toBe(before);
    }
    await test.event('acked', ({ uid }) => uid === 'c');
    server.set(workload('a', 'unknown'));
    server.delete('b');
    server.replace([]);
    await test.event('removed', ({ uid }) => uid === 'c');
    expect(openDescriptors()).toBe(before);
  });
});

describe('a socket that somebody has removed', () => {
  it('is made again, and connections go on', async () => {
    const server = test.serve([workload('a')]);
    const first = await test.client().until((c) => c.ready);
    unlinkSync(test.path);
    server.listenAgain();
    await test.client().until((c) => c.ready);
    // Only the newest one is told of new workloads, but all are told of removals.
    server.delete('a');
    await first.until((c) => !c.workloads.has('a'));
    await server.close();
    expect(existsSync(test.path)).toBe(false);
  });

  it('is left alone while another server listens there', async () => {
    const server = test.serve([]);
    unlinkSync(test.path);
    using other = listenSeqpacket(test.path);
    expect(() => server.listenAgain()).toThrow(/EADDRINUSE/);
    other.close();
    server.listenAgain();
    await test.client().until((c) => c.ready);
  });
});

describe('the end', () => {
  it('closes every connection, the socket, and every descriptor', async () => {
    const before = openDescriptors();
    const server = test.serve([workload('a'), workload('b', netnsAt(1))]);
    let completed = false;
    server.events.subscribe({ complete: () => (completed = true) });
    const client = await test.client().until((c) => c.ready);
    test.rude();
    await server.close();
    await server.close();
    expect(await client.over).toBeUndefined();
    expect(await test.event('disconnected')).toMatchObject({ reason: 'server-closed' });
    expect([completed, existsSync(test.path)]).toEqual([true, false]);
    expect(() => server.set(workload('c'))).toThrow('closed');
    // What remains: epoll and eventfd of the socket thread, made once, and the rude peer's socket and pidfd.
    expect(openDescriptors()).toBeLessThanOrEqual(before + 4);
  });

  it('does not wait for a decision that never comes', async () => {
    let asked: () => void = () => undefined;
    const asking = new Promise<void>((resolve) => {
      asked = resolve;
    });
    const server = test.serve([], { authorize: () => (asked(), new Promise<boolean>(() => undefined)) });
    test.rude();
    await asking;
    await server.close();
    expect(await test.event('refused')).toMatchObject({ reason: 'the server was closed' });
  });

  it('lets another server begin: one at a time on a socket', async () => {
    const first = test.serve([workload('a')]);
    expect(() => test.serve([workload('a')])).toThrow(SystemCallError);
    const client = await test.client().until((c) => c.ready);
    await first.close();
    test.serve([workload('a'), workload('b')]);
    const again = await test.client(undefined, client).until((c) => c.ready);
    expect([...again.workloads.keys()]).toEqual(['a', 'b']);
  });

  it('is that of a scope', async () => {
    {
      await using server = ZdsServer.listen({ path: test.path, workloads: [], authorize: () => true }).server;
      expect(server.path).toBe(test.path);
    }
    expect(existsSync(test.path)).toBe(false);
  });
});
