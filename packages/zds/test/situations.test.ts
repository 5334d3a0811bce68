// What istio-cni's own tests of its ZDS server cover, case by case, on real sockets (cni/pkg/nodeagent,
// ztunnelserver_linux_test.go): here with a client that exits on a protocol error, as ztunnel does.
import { closeSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { harness, inodeOf, netnsAt, netnsPath, opened, workload } from './harness.js';
import { silence } from './zds-client.js';

const test = harness();

describe('what istio-cni’s server does, this one does', () => {
  it('says hello, sends the snapshot, then what changes, and ends with the connection', async () => {
    const server = test.serve([workload('a'), workload('b')]);
    const client = test.client();
    await client.until((c) => c.ready);
    server.delete('a');
    server.delete('b');
    await client.until((c) => c.workloads.size === 0);
    expect(client.log).toEqual(['add a', 'add b', 'snapshot', 'del a', 'del b']);
    client.close();
    expect(await test.event('disconnected')).toMatchObject({ connection: 1, reason: 'peer-closed' });
    expect(server.metrics()).toMatchObject({ connections: 0, addsSent: 2, delsSent: 2, snapshotsSent: 1, acks: 5 });
  });

  it('gives up a connection that dies while a message is under way', async () => {
    const server = test.serve([workload('a')]);
    const client = test.client((request) => (request === 'del a' ? silence : ''));
    await client.until((c) => c.ready);
    server.delete('a');
    await client.until((c) => c.log.includes('del a'));
    client.close();
    await test.event('disconnected');
    expect(server.metrics().connections).toBe(0);
  });

  it('notices that a peer is gone when nothing is being sent', async () => {
    const server = test.serve([workload('a')]);
    const client = test.client();
    await client.until((c) => c.ready);
    await test.event('synced');
    client.close();
    await test.event('disconnected', ({ reason }) => reason === 'peer-closed');
    expect(server.metrics().connections).toBe(0);
    expect(server.status('a')).toEqual({ state: 'acked' });
  });

  it('sends one pod with its descriptor and who it is, then that the snapshot is over', async () => {
    const server = test.serve([workload('a')]);
    const client = test.client();
    await client.until((c) => c.ready);
    expect(client.log).toEqual(['add a', 'snapshot']);
    expect(client.workloads.get('a')).toEqual({
      info: { name: 'pod-a', namespace: 'shop', serviceAccount: 'clerk' },
      inode: inodeOf(netnsPath()),
    });
    await test.event('synced');
    expect(server.metrics().connections).toBe(1);
  });

  it('gives up a connection that it cannot write to', async () => {
    const server = test.serve([workload('a')]);
    const client = test.client(() => silence);
    await client.until((c) => c.log.length === 1);
    client.close();
    await test.event('disconnected');
    expect(server.metrics().connections).toBe(0);
    expect(server.status('a')).toMatchObject({ state: 'unacked' });
  });

  it('gives each of two ztunnels a snapshot, adds to the newest, and deletes from both', async () => {
    const server = test.serve([workload('a'), workload('b')]);
    const older = await test.client().until((c) => c.ready);
    const newer = await test.client().until((c) => c.ready);
    expect(server.metrics().connections).toBe(2);
    server.set(workload('c', netnsAt(1)));
    await newer.until((c) => c.workloads.has('c'));
    server.delete('c');
    await newer.until((c) => !c.workloads.has('c'));
    await older.until((c) => c.log.includes('del c'));
    expect(newer.log).toEqual(['add a', 'add b', 'snapshot', 'add c', 'del c']);
    expect(older.log).toEqual(['add a', 'add b', 'snapshot', 'del c']);
    older.close();
    await test.event('disconnected', ({ connection }) => connection === 1);
    expect(server.metrics().connections).toBe(1);
  });

  it('falls back to the older ztunnel when the newest leaves, and catches up', async () => {
    const server = test.serve([workload('a')]);
    const older = await test.client().until((c) => c.ready);
    const newer = await test.client().until((c) => c.ready);
    server.set(workload('b', netnsAt(1)));
    await newer.until((c) => c.workloads.has('b'));
    newer.close();
    await older.until((c) => c.workloads.has('b'));
    expect(await test.event('unacked')).toMatchObject({ uid: 'b', reason: 'the ztunnel that had it is gone' });
    server.set(workload('c', netnsAt(2)));
    await older.until((c) => c.workloads.has('c'));
    await test.event('acked', ({ uid, connection }) => uid === 'c' && connection === 1);
    server.delete('c');
    await older.until((c) => !c.workloads.has('c'));
    expect(older.log).toEqual(['add a', 'snapshot', 'add b', 'add c', 'del c']);
    expect(server.status('b')).toEqual({ state: 'acked' });
  });

  it('deletes a pod', async () => {
    const server = test.serve([workload('a')]);
    const client = await test.client().until((c) => c.ready);
    server.delete('a');
    expect(await test.event('removed')).toEqual({ kind: 'removed', uid: 'a', connection: 1 });
    expect(client.log).toEqual(['add a', 'snapshot', 'del a']);
    expect(server.status('a')).toBeUndefined();
  });

  it('adds a pod after the snapshot, and needs its namespace no more once it is deleted', async () => {
    const server = test.serve([workload('a')]);
    const client = await test.client().until((c) => c.ready);
    const netns = opened(netnsPath(1));
    server.set(workload('b', netns));
    await client.until((c) => c.workloads.has('b'));
    expect(client.workloads.get('b')?.inode).toBe(inodeOf(netnsPath(1)));
    await test.event('acked', ({ uid }) => uid === 'b');
    expect(server.status('b')).toEqual({ state: 'acked' });
    server.delete('b');
    closeSync(netns.fd);
    await client.until((c) => !c.workloads.has('b'));
  });

  it('asks to keep a pod whose namespace it cannot find', async () => {
    test.serve([workload('a', 'unknown'), workload('gone', 'unknown'), workload('b')]);
    const client = await test.client().until((c) => c.ready);
    expect(client.log).toEqual(['keep a', 'keep gone', 'add b', 'snapshot']);
    expect(client.inodes).toHaveLength(1);
  });

  it('sends a full snapshot to a ztunnel that comes back, which keeps what it names and drops the rest', async () => {
    const server = test.serve([workload('a'), workload('b'), workload('c')]);
    const first = await test.client().until((c) => c.ready);
    first.close();
    await test.event('disconnected');
    server.delete('c');
    server.set(workload('b', 'unknown'));
    server.set(workload('d'));
    const second = await test.client(undefined, first).until((c) => c.ready);
    expect(second.log).toEqual(['add a', 'keep b', 'add d', 'snapshot']);
    expect([...second.workloads.keys()].sort()).toEqual(['a', 'b', 'd']);
  });
});
