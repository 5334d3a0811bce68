// Changes while a ztunnel is connected: refusals and retries, another namespace, undone changes, broken connections.
import { describe, expect, it } from 'vitest';
import { closeSync } from 'node:fs';
import { harness, inodeOf, netnsAt, netnsPath, opened, workload } from './harness.js';
import { silence } from './zds-client.js';

const test = harness();
const quick = { backOff: { baseMs: 1, capMs: 4 } };

describe('a refusal', () => {
  it('leaves the workload unacknowledged, holds nothing else up, and is tried again until it is taken', async () => {
    const server = test.serve([workload('a'), workload('b')], quick);
    let refusals = 0;
    const client = test.client((request) => (request === 'add a' && refusals++ < 3 ? 'bind: address in use' : ''));
    await client.until((c) => c.ready);
    await test.event('nacked', ({ uid, reason }) => uid === 'a' && reason === 'bind: address in use');
    await client.until((c) => c.workloads.has('a'));
    await test.event('acked', ({ uid }) => uid === 'a');
    expect(client.log.filter((request) => request === 'add a')).toHaveLength(4);
    expect(client.log.indexOf('snapshot')).toBeLessThan(client.log.lastIndexOf('add a'));
    expect(server.metrics()).toMatchObject({ nacks: 3, addsSent: 5, workloadsUnacked: 0 });
  });

  it('is visible as the reason why the workload is not acknowledged', async () => {
    const server = test.serve([workload('a')], { backOff: { baseMs: 1e6, capMs: 1e6 } });
    await test.client((request) => (request === 'add a' ? 'no\nsuch\u202Ething' : '')).until((c) => c.ready);
    const { retryMs } = await test.event('nacked');
    expect(retryMs).toBeGreaterThanOrEqual(500_000);
    expect(server.status('a')).toEqual({ state: 'unacked', reason: 'ztunnel refused it: no?such?thing' });
    expect(server.metrics().workloadsUnacked).toBe(1);
  });

  it('does not delay what the caller changes meanwhile', async () => {
    const server = test.serve([workload('a')], { backOff: { baseMs: 1e6, capMs: 1e6 } });
    const client = test.client((request) => (client.inodes.length === 1 && request === 'add a' ? 'no' : ''));
    await client.until((c) => c.ready);
    server.set(workload('a', netnsAt(1)));
    await client.until((c) => c.workloads.has('a'));
    expect(client.inodes).toEqual([inodeOf(netnsPath(0)), inodeOf(netnsPath(1))]);
  });

  it('of what has changed meanwhile is no reason to wait', async () => {
    const server = test.serve([workload('a')], { backOff: { baseMs: 1e6, capMs: 1e6 } });
    const client = test.client((request) => {
      if (request !== 'add a' || client.inodes.length > 1) return '';
      server.set(workload('a', netnsAt(1)));
      return 'no';
    });
    await client.until((c) => c.workloads.has('a'));
    expect(client.inodes).toEqual([inodeOf(netnsPath(0)), inodeOf(netnsPath(1))]);
  });

  it('to keep is final on this connection', async () => {
    const server = test.serve([workload('a', 'unknown')], quick);
    const client = await test.client((request) => (request === 'keep a' ? 'what?' : '')).until((c) => c.ready);
    expect(await test.event('nacked')).toMatchObject({ uid: 'a', retryMs: undefined });
    server.set(workload('b'));
    await client.until((c) => c.workloads.has('b'));
    expect(client.log).toEqual(['keep a', 'snapshot', 'add b']);
  });

  it('of a removal is tried again', async () => {
    const server = test.serve([workload('a')], quick);
    let refused = false;
    const client = test.client((request) => (request === 'del a' && !refused ? ((refused = true), 'busy') : ''));
    await client.until((c) => c.ready);
    server.delete('a');
    await client.until((c) => c.workloads.size === 0);
    await test.event('removed');
    expect(client.log.filter((request) => request === 'del a')).toHaveLength(2);
  });

  it('of the snapshot ends the connection', async () => {
    test.serve([]);
    test.client((request) => (request === 'snapshot' ? 'never' : ''));
    expect(await test.event('protocolViolation')).toMatchObject({ reason: 'SnapshotSent was refused: never' });
  });
});

describe('a change', () => {
  it('to another namespace under the same uid is an add again', async () => {
    const server = test.serve([workload('a')]);
    const client = await test.client().until((c) => c.ready);
    await test.event('acked');
    server.set(workload('a', netnsAt(1)));
    expect(server.status('a')?.state).toBe('unacked');
    await client.until((c) => c.inodes.length === 2);
    expect(client.log).toEqual(['add a', 'snapshot', 'add a']);
    expect(client.workloads.get('a')?.inode).toBe(inodeOf(netnsPath(1)));
  });

  it('to another descriptor of the same namespace is none, and the old one may be closed', async () => {
    const former = opened('/proc/self/ns/net');
    const server = test.serve([workload('a', former)]);
    const client = await test.client().until((c) => c.ready);
    server.set(workload('a', opened(`/proc/${process.pid}/ns/net`)));
    closeSync(former.fd);
    server.set(workload('b'));
    await client.until((c) => c.workloads.has('b'));
    expect(client.log).toEqual(['add a', 'snapshot', 'add b']);
    expect(server.status('a')).toEqual({ state: 'acked' });
    const next = await test.client().until((c) => c.ready);
    expect(next.inodes).toEqual([inodeOf('/proc/self/ns/net'), inodeOf(netnsPath())]);
  });

  it('to another namespace with an inode that was used before is an add again', async () => {
    const first = netnsAt();
    const server = test.serve([workload('a', first)]);
    const client = await test.client().until((c) => c.ready);
    await test.event('acked');
    // There is no request in between, so that only its cookie distinguishes it from the first.
    server.delete('a');
    server.set(workload('a', { ...first, cookie: first.cookie + 1n }));
    expect(server.status('a')?.state).toBe('unacked');
    await client.until((c) => c.inodes.length === 2);
    expect(client.log).toEqual(['add a', 'snapshot', 'add a']);
  });

  it('of the identity is a removal and an add: ztunnel would ignore a second add', async () => {
    const server = test.serve([workload('a')]);
    const client = await test.client().until((c) => c.ready);
    server.set({ ...workload('a'), serviceAccount: 'manager' });
    await client.until((c) => c.log.length === 4);
    expect(client.log).toEqual(['add a', 'snapshot', 'del a', 'add a']);
    await client.until((c) => c.workloads.get('a')?.info.serviceAccount === 'manager');
  });

  it('that is undone before it was sent is not sent', async () => {
    const server = test.serve([workload('a')]);
    const client = await test.client().until((c) => c.ready);
    await test.event('synced');
    server.delete('a');
    server.set(workload('a'));
    server.set(workload('b'));
    server.delete('b');
    server.set(workload('c'));
    await client.until((c) => c.workloads.has('c'));
    await test.event('acked', ({ uid }) => uid === 'c');
    expect(client.log).toEqual(['add a', 'snapshot', 'del b', 'add c']);
    expect(server.status('a')).toEqual({ state: 'acked' });
  });

  it('to an unknown namespace leaves ztunnel as it is; nothing is sent when it is known again', async () => {
    const server = test.serve([workload('a')]);
    const client = await test.client().until((c) => c.ready);
    await test.event('synced');
    server.set(workload('a', 'unknown'));
    expect(server.status('a')).toEqual({ state: 'acked' });
    server.set(workload('a'));
    server.set(workload('b', 'unknown'));
    server.set(workload('c'));
    await client.until((c) => c.workloads.has('c'));
    expect(client.log).toEqual(['add a', 'snapshot', 'add c']);
    expect(server.status('a')).toEqual({ state: 'acked' });
    expect(server.status('b')).toMatchObject({ state: 'unacked' });
    server.set(workload('b', netnsAt(3)));
    await client.until((c) => c.workloads.has('b'));
  });

  it('during the snapshot is part of it', async () => {
    const server = test.serve([workload('a'), workload('b'), workload('c', 'unknown')]);
    const client = test.client((request) => {
      if (request === 'add a') {
        server.delete('a');
        server.delete('c');
        server.set(workload('d'));
        server.set(workload('e', 'unknown'));
      }
      return '';
    });
    await client.until((c) => c.ready);
    expect(client.log.at(-1)).toBe('snapshot');
    expect(new Set(client.log)).toEqual(new Set(['add a', 'add b', 'del a', 'del c', 'add d', 'keep e', 'snapshot']));
    expect([...client.workloads.keys()].sort()).toEqual(['b', 'd']);
  });

  it('by replace sends only the difference', async () => {
    const server = test.serve(['a', 'b', 'c'].map((uid) => workload(uid)));
    const client = await test.client().until((c) => c.ready);
    expect(server.replace(['b', 'c', 'd'].map((uid) => workload(uid)))).toEqual([]);
    await client.until((c) => c.workloads.has('d') && !c.workloads.has('a'));
    expect(client.log.slice(4).sort()).toEqual(['add d', 'del a']);
  });
});

describe('a connection that breaks in the middle of an add', () => {
  it('leaves the workload unacknowledged until the next snapshot has it', async () => {
    const server = test.serve([workload('a')]);
    const first = await test.client((request) => (request === 'add b' ? silence : '')).until((c) => c.ready);
    server.set(workload('b'));
    await first.until((c) => c.log.includes('add b'));
    first.close();
    await test.event('disconnected');
    expect(server.status('a')).toEqual({ state: 'acked' });
    expect(server.status('b')).toEqual({
      state: 'unacked',
      reason: 'the connection broke before ztunnel had answered',
    });
    const second = await test.client(undefined, first).until((c) => c.ready);
    expect(second.log).toEqual(['add a', 'add b', 'snapshot']);
    expect(server.status('b')).toEqual({ state: 'acked' });
  });

  it('takes back a workload that had been acknowledged, when it is added again', async () => {
    const server = test.serve([workload('a')]);
    await test.client().until((c) => c.ready);
    // Its successor gets the same pod, and dies before it answers.
    const successor = test.client(() => silence);
    await successor.until((c) => c.log.length === 1);
    successor.close();
    await test.event('disconnected', ({ connection }) => connection === 2);
    // The older one is the newest again, and still has it.
    await expect.poll(() => server.status('a')).toEqual({ state: 'acked' });
    const acks = test.events.filter((event) => event.kind === 'acked' && event.connection === 1);
    expect(acks).toHaveLength(2);
  });
});

describe('the newest ztunnel', () => {
  it('finishes its snapshot even when a newer one comes meanwhile', async () => {
    const server = test.serve([workload('a'), workload('b')]);
    let release: (answer: string) => void = () => undefined;
    const held = new Promise<string>((resolve) => {
      release = resolve;
    });
    const older = test.client((request) => (request === 'add a' ? held : ''));
    await older.until((c) => c.log.length === 1);
    const newer = await test.client().until((c) => c.ready);
    release('');
    await older.until((c) => c.ready);
    expect(older.log).toEqual(['add a', 'add b', 'snapshot']);
    server.set(workload('c'));
    await newer.until((c) => c.workloads.has('c'));
    expect(older.log).toHaveLength(3);
  });

  it('is the one that said Hello, not one that only connected', async () => {
    const server = test.serve([workload('a')]);
    const client = await test.client().until((c) => c.ready);
    test.rude();
    server.set(workload('b'));
    await client.until((c) => c.workloads.has('b'));
  });

  it('alone decides what is acknowledged', async () => {
    const server = test.serve([workload('a')], { backOff: { baseMs: 1e6, capMs: 1e6 } });
    await test.client().until((c) => c.ready);
    expect(server.status('a')).toEqual({ state: 'acked' });
    await test.client((request) => (request === 'add a' ? 'cannot' : '')).until((c) => c.ready);
    expect(server.status('a')).toEqual({ state: 'unacked', reason: 'ztunnel refused it: cannot' });
    expect(await test.event('unacked')).toMatchObject({ uid: 'a' });
  });

  it.each([
    ['yes', '', 'cannot', 'unacked'],
    ['no', 'cannot', '', 'acked'],
  ])('is not overruled by the %s of an older one', async (_, older, newer, state) => {
    const server = test.serve([workload('a')], { backOff: { baseMs: 1e6, capMs: 1e6 } });
    let release: (answer: string) => void = () => undefined;
    const held = new Promise<string>((resolve) => {
      release = resolve;
    });
    const first = test.client((request) => (request === 'add a' ? held : ''));
    await first.until((c) => c.log.length === 1);
    await test.client((request) => (request === 'add a' ? newer : '')).until((c) => c.ready);
    await test.event('synced', ({ connection }) => connection === 2);
    release(older);
    await test.event('synced', ({ connection }) => connection === 1);
    expect(server.status('a')?.state).toBe(state);
  });

  it('acknowledges the present namespace, not one that was replaced meanwhile', async () => {
    const server = test.serve([workload('a')]);
    const client = test.client((request) => {
      if (request === 'add a' && client.inodes.length === 1) server.set(workload('a', netnsAt(1)));
      return '';
    });
    await client.until((c) => c.ready);
    await test.event('synced');
    expect(client.log).toEqual(['add a', 'add a', 'snapshot']);
    expect(test.events.filter(({ kind }) => kind === 'acked')).toHaveLength(1);
    expect(server.status('a')).toEqual({ state: 'acked' });
  });
});
