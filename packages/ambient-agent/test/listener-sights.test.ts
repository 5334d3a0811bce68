// When ztunnel's listeners are looked at, and for how long that counts.
import { beforeEach, describe, expect, it } from 'vitest';
import type { ListenerSight } from '../src/index.js';
import { ListenerSights } from '../src/reconcile/listener-sights.js';

describe('whether ztunnel’s listeners are transparent', () => {
  const looked: number[] = [];
  /** What a look at each process shows. */
  const shown = new Map<number, ListenerSight>();
  const look = (pid: number, netns: ReadonlySet<bigint>): ListenerSight => {
    expect(netns.size).toBeGreaterThan(0);
    looked.push(pid);
    return shown.get(pid) ?? { unseen: `process ${pid} does not listen there` };
  };
  /** By pod UID: its namespace and, unless its ztunnel is gone, the connection. The pid is 100 more than its number. */
  const facts = (pods: Readonly<Record<string, readonly [cookie: bigint, connection?: number]>>) => ({
    acknowledged: new Map(Object.entries(pods).map(([uid, [cookie]]) => [uid, cookie])),
    acknowledgedBy: new Map(
      Object.entries(pods).flatMap(([uid, [, connection]]) =>
        connection === undefined ? [] : [[uid, { connection, pid: connection + 100 }] as const],
      ),
    ),
    refusals: new Map(),
    isConnected: true,
  });
  beforeEach(() => {
    looked.length = 0;
    shown.clear();
    shown.set(101, 'transparent').set(102, 'not-transparent');
  });

  it('is looked at once for each ztunnel, with the first pod that it acknowledges', () => {
    const sights = new ListenerSights(new Set(), look);
    expect(sights.update(facts({}), true).size).toBe(0);
    expect(sights.update(facts({ a: [5n, 1] }), false)).toEqual(new Map([[5n, 'transparent']]));
    // Its listener may close and open again: it is the same process.
    shown.set(101, { unseen: 'it does not listen now' });
    expect(sights.update(facts({ a: [5n, 1], b: [6n, 1] }), true)).toEqual(
      new Map([
        [5n, 'transparent'],
        [6n, 'transparent'],
      ]),
    );
    expect(looked).toEqual([101]);
  });

  it('is that of the ztunnel that serves the pod, during a rollout', () => {
    const sights = new ListenerSights(new Set(), look);
    sights.update(facts({ a: [5n, 1], b: [6n, 1] }), false);
    expect([...sights.update(facts({ a: [5n, 2], b: [6n, 1] }), false).values()]).toEqual([
      'not-transparent',
      'transparent',
    ]);
    expect([...sights.update(facts({ a: [5n, 1], b: [6n, 1] }), false).values()]).toEqual([
      'transparent',
      'transparent',
    ]);
    expect(looked).toEqual([101, 102]);
  });

  it('counts while ztunnel is away, and is looked at again in the next process', () => {
    const sights = new ListenerSights(new Set(), look);
    sights.update(facts({ a: [5n, 1] }), false);
    expect(sights.update(facts({ a: [5n] }), true).get(5n)).toBe('transparent');
    expect(sights.update(facts({ a: [5n, 2] }), false).get(5n)).toBe('not-transparent');
    expect(sights.update(facts({ a: [5n] }), false).get(5n)).toBe('not-transparent');
    // The same pod in another namespace, which nobody has acknowledged.
    expect(sights.update(facts({ a: [6n] }), false).has(6n)).toBe(false);
  });

  it('is known from an earlier agent until its ztunnel has connected', () => {
    const sights = new ListenerSights(new Set([5n]), look);
    expect(sights.update(facts({ a: [5n], b: [6n] }), true)).toEqual(new Map([[5n, 'transparent']]));
    expect(looked).toEqual([]);
    expect(sights.update(facts({ a: [5n, 2], b: [6n] }), false)).toEqual(new Map([[5n, 'not-transparent']]));
  });

  it('of the newest ztunnel is what a pod that waits for one expects, connected or not', () => {
    const sights = new ListenerSights(new Set(), look);
    expect(sights.latest).toBeUndefined();
    sights.update(facts({ a: [5n, 1] }), false);
    expect(sights.latest).toBe('transparent');
    sights.update(facts({ a: [5n] }), false);
    expect(sights.latest).toBe('transparent');
    sights.update(facts({ a: [5n, 1], b: [6n, 2] }), false);
    expect(sights.latest).toBe('not-transparent');
    expect(new ListenerSights(new Set([5n]), look).latest).toBe('transparent');
  });

  it('that cannot be seen is looked at again by thorough passes', () => {
    const sights = new ListenerSights(new Set(), look);
    const unseen = { unseen: 'process 103 does not listen there' };
    expect(sights.update(facts({ a: [5n, 3] }), false).get(5n)).toEqual(unseen);
    shown.set(103, 'transparent');
    expect(sights.update(facts({ a: [5n, 3] }), false).get(5n)).toEqual(unseen);
    expect(sights.update(facts({ a: [5n, 3] }), true).get(5n)).toBe('transparent');
    expect(looked).toEqual([103, 103]);
  });
});
