// The order in which pods of inPod mode join and leave, and that a step which fails holds up one pod and no other.
// The services record the calls; the real ones are tested in packages/cli.
import { describe, expect, it } from 'vitest';
import { Acknowledgements, EnforcementError, ztunnelOf, type ServedPod } from '../src/index.js';
import { Recorder } from './recorder.js';

const served = (uid: string, cookie: bigint, over: Partial<ServedPod> = {}): ServedPod => ({
  uid,
  podUid: uid,
  name: uid,
  namespace: 'shop',
  serviceAccount: 'default',
  ips: ['10.0.0.5'],
  cookie,
  netns: { inode: 1n, cookie, pid: 1, path: '/proc/1/ns/net', addresses: [], owner: 'host' },
  isAcknowledged: false,
  isOffered: true,
  capture: { by: 'rewrite', because: 'a test' },
  isRoutable: false,
  ...over,
});

describe('a pod', () => {
  it('is plumbed, attached and then offered, and leaves in the reverse order', async () => {
    const node = new Recorder();
    await node.serve([served('a', 5n)]);
    expect(node.take()).toEqual(['plumb 5', 'attach 5', 'offer a']);
    await node.serve([served('a', 5n, { isAcknowledged: true })]);
    expect(node.take()).toEqual(['offer a']);
    await node.serve([]);
    expect(node.take()).toEqual(['detach 5', 'offer', 'restore 5']);
    await node.serve([]);
    expect(node.take()).toEqual(['offer']);
  });

  it('that ztunnel knows and whose program was gone is decided anew when it is attached again', async () => {
    const node = new Recorder();
    const known = served('a', 5n, { isAcknowledged: true });
    expect((await node.serve([known])).isIncomplete).toBe(true);
    expect((await node.serve([known])).isIncomplete).toBe(false);
    node.attached.delete(5n);
    expect((await node.serve([known])).isIncomplete).toBe(true);
    expect((await node.serve([known])).isIncomplete).toBe(false);
  });

  it('that is captured by route is prepared before it is offered, and its connections are not marked when it has left', async () => {
    const node = new Recorder();
    const routable = served('a', 5n, { isRoutable: true });
    expect((await node.serve([routable])).isIncomplete).toBe(true);
    expect(node.take()).toEqual(['plumb 5', 'route 5', 'attach 5', 'offer a']);
    expect(node.done.prepared).toEqual(new Set([5n]));
    expect((await node.serve([routable])).isIncomplete).toBe(false);
    expect(node.take()).toEqual(['offer a']);
    // Its addresses decide from which its connections come.
    await node.serve([{ ...routable, ips: ['10.0.0.6'] }]);
    expect(node.take()).toEqual(['plumb 5', 'route 5', 'offer a']);
    // Its established connections keep their mark, whatever becomes of the next ones.
    await node.serve([{ ...routable, isRoutable: false }], true);
    expect(node.take()).toEqual(['plumb 5', 'route 5', 'offer a']);
    await node.serve([]);
    expect(node.take()).toEqual(['detach 5', 'unroute 5', 'offer', 'restore 5']);
    expect(node.done.prepared).toEqual(new Set());
  });

  it('that cannot be captured by route any more is decided anew', async () => {
    const node = new Recorder();
    const routable = served('a', 5n, { isRoutable: true });
    await node.serve([routable]);
    expect((await node.serve([routable])).isIncomplete).toBe(false);
    node.obstructed.add(5n);
    node.done.disturbed.add(5n);
    expect((await node.serve([routable])).isIncomplete).toBe(true);
    expect(node.done.prepared).toEqual(new Set());
    const rewritten = { ...routable, isRoutable: false };
    await node.serve([rewritten]);
    expect((await node.serve([rewritten])).isIncomplete).toBe(false);
  });

  it('that is new is prepared once before the maps have it, and what failed then is done, and said, afterwards', async () => {
    const node = new Recorder();
    const pods = [served('a', 5n, { isRoutable: true }), served('b', 6n), served('c', 7n, { isRoutable: true })];
    node.fails = { attach: 7n };
    expect(await node.prepareNew(pods)).toBe(true);
    expect(node.take()).toEqual(['plumb 5', 'route 5', 'attach 5', 'plumb 6', 'attach 6', 'plumb 7', 'route 7']);
    expect(await node.prepareNew(pods)).toBe(false);
    expect(node.take()).toEqual([]);
    const { problems, isIncomplete } = await node.serve(pods);
    expect([[...problems.keys()], isIncomplete]).toEqual([['c'], true]);
    expect(node.take()).toEqual(['plumb 7', 'route 7', 'offer a b']);
    // The namespace that is gone has been forgotten, whatever became of it.
    await node.serve([]);
    expect(node.done.begun).toEqual(new Set());
  });

  it('that has another namespace now is served there, and the old one is restored', async () => {
    const node = new Recorder();
    await node.serve([served('a', 5n)]);
    node.take();
    await node.serve([served('a', 6n)]);
    expect(node.take()).toEqual(['plumb 6', 'attach 6', 'detach 5', 'offer a', 'restore 5']);
  });

  it('is checked from time to time, and what was missing is reported', async () => {
    const node = new Recorder();
    expect((await node.serve([served('a', 5n)])).repaired).toEqual([]);
    const again = await node.serve([served('a', 5n)], true);
    expect(again.repaired).toEqual([{ kind: 'rule', what: 'IPv4 rule in the network namespace of pod shop/a' }]);
  });

  it('is checked by the next pass, and no other pod, when somebody has changed its namespace', async () => {
    const node = new Recorder();
    const pods = [served('a', 5n), served('b', 6n)];
    await node.serve(pods);
    node.take();
    node.done.disturbed.add(6n);
    expect((await node.serve(pods)).repaired).toEqual([
      { kind: 'rule', what: 'IPv4 rule in the network namespace of pod shop/b' },
    ]);
    expect(node.take()).toEqual(['plumb 6', 'offer a b']);
    await node.serve(pods);
    expect(node.take()).toEqual(['offer a b']);
  });

  it('among very many is checked in its turn', async () => {
    const node = new Recorder();
    const many = Array.from({ length: 20 }, (_, index) => served(`p${index}`, BigInt(index + 100)));
    await node.serve(many);
    node.take();
    const looked: string[] = [];
    for (let pass = 0; pass < 3; pass++) {
      await node.serve(many, true);
      looked.push(...node.take().filter((line) => line.startsWith('plumb')));
    }
    expect(looked.length).toBeLessThan(60);
    expect(new Set(looked).size).toBe(20);
  });

  it('of an earlier agent is adopted, and ztunnel is asked to keep one whose namespace no process shows', async () => {
    const node = new Recorder();
    node.attached.add(5n).add(6n).add(9n);
    const lost = served('b', 6n, { netns: undefined, isAcknowledged: true });
    const result = await node.serve([served('a', 5n, { isAcknowledged: true }), lost], true);
    expect(node.take()).toEqual(['plumb 5', 'attach 5', 'detach 9', 'offer a b?']);
    expect([...result.unattached]).toEqual([]);
  });
});

describe('a step that fails', () => {
  const pods = [served('a', 5n), served('b', 6n), served('c', 7n)];
  it.each([
    ['open', ['plumb 5', 'attach 5', 'plumb 7', 'attach 7', 'offer a c'], 'open failed'],
    // It is held in both directions and not offered, because ztunnel could not reach its application.
    ['plumb', ['plumb 5', 'attach 5', 'attach 6', 'plumb 7', 'attach 7', 'offer a c'], 'apply failed'],
    ['attach', ['plumb 5', 'attach 5', 'plumb 6', 'plumb 7', 'attach 7', 'offer a c'], 'attachNetns failed'],
  ] as const)('%s: that pod waits and is tried again', async (step, log, message) => {
    const node = new Recorder();
    node.fails = { [step]: 6n };
    const result = await node.serve(pods);
    expect(node.take()).toEqual(log);
    expect([...result.problems]).toEqual([['b', [message]]]);
    expect(result.isIncomplete).toBe(true);
    node.fails = {};
    const after = await node.serve(pods, true);
    expect(node.take().at(-1)).toBe('offer a b c');
    expect([after.isIncomplete, [...after.problems]]).toEqual([false, []]);
  });

  it('plumb, and is tried again by a pass that is not thorough', async () => {
    const node = new Recorder();
    node.fails = { plumb: 6n };
    await node.serve(pods);
    node.fails = {};
    node.take();
    await node.serve(pods);
    expect(node.take()).toEqual(['plumb 6', 'offer a b c']);
  });

  it('for a pod that leaves keeps no other pod from leaving', async () => {
    const node = new Recorder();
    await node.serve(pods);
    node.take();
    node.fails = { detach: 5n };
    const result = await node.serve([]);
    expect(node.take()).toEqual(['detach 6', 'detach 7', 'offer', 'restore 5', 'restore 6', 'restore 7']);
    expect([result.others, result.isIncomplete]).toEqual([['detachNetns failed'], true]);
  });

  it('that looks for listeners fails the pass as a failure of the datapath', async () => {
    const node = new Recorder();
    node.fails = { listeners: true };
    const failure = await node.serve([served('a', 5n, { isAcknowledged: true })]).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(EnforcementError);
    expect(failure).toMatchObject({ call: 'listeners' });
  });

  it('for a pod that ztunnel already has does not take the pod from ztunnel', async () => {
    const node = new Recorder();
    node.fails = { plumb: 5n };
    await node.serve([served('a', 5n, { isAcknowledged: true })]);
    expect(node.take()).toEqual(['attach 5', 'offer a']);
  });
});

describe('acknowledgements', () => {
  const offeredAs = (uid: string, cookie: bigint): ReadonlyMap<string, bigint> => new Map([[uid, cookie]]);
  it('outlive agents, and end with a refusal, another namespace or the pod', () => {
    const before = new Acknowledgements(new Map([['a', 5n]]));
    before.offer(offeredAs('a', 5n));
    expect(before.acknowledged).toEqual(new Map([['a', 5n]]));
    before.refused('a', 'address in use', () => false);
    expect([before.acknowledged.size, before.refusals.get('a')]).toEqual([0, 'address in use']);
    before.accepted('a', 1);
    expect([before.acknowledged.get('a'), before.refusals.size]).toEqual([5n, 0]);
    before.offer(offeredAs('a', 6n));
    before.accepted('a', 1);
    expect(before.acknowledged.get('a')).toBe(6n);
    before.offer(new Map());
    expect(before.acknowledged.size).toBe(0);
    before.accepted('a', 1);
    expect(before.acknowledged.size).toBe(0);
  });

  it('are those of the newest ztunnel that is connected', () => {
    const all = new Acknowledgements(new Map([['a', 5n]]));
    all.offer(offeredAs('a', 5n));
    expect(all.acknowledgedBy.size).toBe(0);
    all.accepted('a', 1);
    all.accepted('a', 2);
    all.accepted('b', 2);
    expect(all.acknowledgedBy).toEqual(new Map([['a', 2]]));
    all.disconnected(2);
    expect(all.acknowledgedBy).toEqual(new Map([['a', 1]]));
    all.disconnected(1);
    expect([all.acknowledgedBy.size, all.acknowledged.get('a')]).toEqual([0, 5n]);
    all.accepted('a', 3);
    // In another namespace, nobody has acknowledged it yet.
    all.offer(offeredAs('a', 6n));
    expect(all.acknowledgedBy.size).toBe(0);
  });

  it('stay with a pod that an older ztunnel still serves', () => {
    const all = new Acknowledgements(new Map([['a', 5n]]));
    all.offer(offeredAs('a', 5n));
    all.refused('a', 'address in use', (cookie) => cookie === 5n);
    expect(all.acknowledged.get('a')).toBe(5n);
  });
});

describe('a peer of the ZDS socket', () => {
  const me = { pid: process.pid, uid: 0, gid: 0, pidfd: undefined };
  const resolver = { resolveProcess: () => ({ kind: 'host' as const, cgroupPath: '/', cgroupId: 1n }) };
  it('is refused if its process cannot be seen, has ended, or is elsewhere', async () => {
    const options = { ztunnels: () => new Map(), resolver, patienceMs: 0 };
    await expect(ztunnelOf({ ...me, pid: 0 }, options)).rejects.toThrow('not visible');
    await expect(ztunnelOf(me, options)).rejects.toThrow(`process ${process.pid} has ended`);
  });
});
