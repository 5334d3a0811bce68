// What Istio is told of pods: the value for each state, and a writer that ends at what is wanted, whatever fails and whoever
// else writes.
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { redirectionOf, RedirectionWriter, type Redirection, type RedirectionWish } from '../src/index.js';

/** The API server and the inventory that hears of it later, as far as annotations go. */
class Cluster {
  readonly there = new Map<string, string | undefined>();
  readonly writes: string[] = [];
  readonly failures: unknown[] = [];
  /** What each of the next writes does instead. */
  readonly answers: ('fail' | 'gone' | Promise<void>)[] = [];
  nowMs = 0;
  readonly writer = new RedirectionWriter({
    patch: async ({ uid }, value) => {
      const answer = this.answers.shift();
      if (answer === 'fail') throw new Error('503 Unavailable');
      if (answer === 'gone') return 'gone';
      await answer;
      this.there.set(uid, value);
      this.writes.push(`${uid} ${value}`);
      return 'patched';
    },
    onFailure: (_pod, error) => this.failures.push(error),
    backOffMs: () => 0,
    pendingAfterMs: 0,
    now: () => this.nowMs,
  });

  wish(uid: string, wanted: Redirection, seen = this.there.get(uid)): RedirectionWish {
    return { pod: { uid, namespace: 'shop', name: uid }, wanted, seen };
  }

  async want(...wishes: RedirectionWish[]): Promise<void> {
    this.writer.want(wishes);
    await this.#quiet();
  }

  /** Everything here is promises that are fulfilled already, and timers of 0 ms. */
  async #quiet(): Promise<void> {
    for (let turn = 0; turn < 20; turn += 1) await sleep(0);
  }
}

describe('the annotation', () => {
  it.each([
    ['in', 'enabled'],
    ['pending', 'pending'],
    ['waiting', undefined],
    ['out', undefined],
    ['unknown', undefined],
  ] as const)('of a pod that is %s is %s', (state, value) =>
    expect(redirectionOf({ state, role: 'workload' })).toBe(value),
  );

  it('is never ztunnel’s', () => expect(redirectionOf({ state: 'in', role: 'ztunnel' })).toBeUndefined());
});

describe('the writer', () => {
  it('writes what is wanted once, and nothing where that is there already', async () => {
    const cluster = new Cluster();
    cluster.there.set('b', 'enabled');
    await cluster.want(cluster.wish('a', 'enabled'), cluster.wish('b', 'enabled'), cluster.wish('c', undefined));
    await cluster.want(cluster.wish('a', 'enabled'), cluster.wish('b', 'enabled'), cluster.wish('c', undefined));
    expect(cluster.writes).toEqual(['a enabled']);
  });

  it('does not take an inventory that has not heard of its write yet for somebody else’s', async () => {
    const cluster = new Cluster();
    await cluster.want(cluster.wish('a', 'enabled', undefined));
    await cluster.want(cluster.wish('a', 'enabled', undefined));
    expect(cluster.writes).toEqual(['a enabled']);
  });

  it('writes again after a failure, and says why it has not', async () => {
    const cluster = new Cluster();
    let release = (): void => {};
    cluster.answers.push('fail', new Promise<void>((resolve) => (release = resolve)));
    await cluster.want(cluster.wish('a', 'enabled'));
    expect(cluster.writer.problems()).toEqual([
      'the annotation of pod shop/a is not what it ought to be: 503 Unavailable',
    ]);
    release();
    await cluster.want(cluster.wish('a', 'enabled'));
    expect([cluster.there.get('a'), cluster.failures.length, cluster.writer.problems()]).toEqual(['enabled', 1, []]);
  });

  it('says the same trouble of many pods in one sentence', async () => {
    const cluster = new Cluster();
    const never = new Promise<void>(() => {});
    cluster.answers.push('fail', 'fail', never, never);
    await cluster.want(cluster.wish('a', 'enabled'), cluster.wish('b', 'enabled'));
    expect(cluster.writer.problems()).toEqual([
      'the annotation of 2 pods, such as shop/a is not what it ought to be: 503 Unavailable',
    ]);
  });

  it('takes back before withdraw is fulfilled', async () => {
    const cluster = new Cluster();
    await cluster.want(cluster.wish('a', 'enabled'), cluster.wish('b', 'enabled'));
    await cluster.writer.withdraw([cluster.wish('a', undefined), cluster.wish('b', 'enabled')]);
    expect([cluster.there.get('a'), cluster.there.get('b')]).toEqual([undefined, 'enabled']);
  });

  it('takes back what an earlier agent announced', async () => {
    const cluster = new Cluster();
    cluster.there.set('a', 'enabled');
    await cluster.writer.withdraw([cluster.wish('a', undefined)]);
    expect(cluster.there.get('a')).toBeUndefined();
  });

  it('takes back what it was about to write', async () => {
    const cluster = new Cluster();
    let release = (): void => {};
    cluster.answers.push(new Promise<void>((resolve) => (release = resolve)));
    await cluster.want(cluster.wish('a', 'enabled'));
    const withdrawn = cluster.writer.withdraw([cluster.wish('a', undefined)]);
    release();
    await withdrawn;
    expect(cluster.writes).toEqual(['a enabled', 'a undefined']);
  });

  it('never announces in withdraw', async () => {
    const cluster = new Cluster();
    await cluster.want(cluster.wish('a', 'pending'));
    await cluster.writer.withdraw([cluster.wish('a', 'enabled')]);
    expect(cluster.writes).toEqual(['a pending']);
  });

  it('puts back once what somebody else changed, and then leaves it and says so', async () => {
    const cluster = new Cluster();
    await cluster.want(cluster.wish('a', 'enabled'));
    for (let round = 0; round < 3; round += 1) {
      await cluster.want(cluster.wish('a', 'enabled'));
      cluster.there.set('a', undefined);
      await cluster.want(cluster.wish('a', 'enabled'));
    }
    expect(cluster.writes).toEqual(['a enabled', 'a enabled']);
    expect(cluster.writer.problems()[0]).toContain('somebody else makes it absent each time, and it is left so');
    // Until something else is wanted.
    cluster.there.set('a', 'enabled');
    await cluster.want(cluster.wish('a', undefined));
    expect([cluster.there.get('a'), cluster.writer.problems()]).toEqual([undefined, []]);
  });

  it('notices a write that was overwritten before the inventory could show it', async () => {
    const cluster = new Cluster();
    await cluster.want(cluster.wish('a', 'enabled'));
    cluster.there.set('a', undefined);
    await cluster.want(cluster.wish('a', 'enabled'));
    expect(cluster.writes).toHaveLength(1);
    cluster.nowMs += 60_001;
    await cluster.want(cluster.wish('a', 'enabled'));
    expect(cluster.there.get('a')).toBe('enabled');
  });

  it('asks once for a pod that is gone', async () => {
    const cluster = new Cluster();
    cluster.answers.push('gone');
    for (let round = 0; round < 3; round += 1) await cluster.want(cluster.wish('a', 'enabled', undefined));
    expect([cluster.answers, cluster.writes]).toEqual([[], []]);
  });

  it('ends what is under way, and writes nothing after that', async () => {
    const cluster = new Cluster();
    cluster.answers.push('fail');
    await cluster.want(cluster.wish('a', undefined));
    await cluster.writer.close();
    await cluster.want(cluster.wish('b', 'enabled'));
    expect(cluster.writes).toEqual([]);
  });

  it('ends at what is wanted, whatever fails on the way', () => {
    const value = fc.constantFrom<Redirection[]>('enabled', 'pending', undefined);
    const step = fc.record({
      wanted: fc.dictionary(fc.constantFrom('a', 'b', 'c'), value),
      failures: fc.nat({ max: 3 }),
      withdraws: fc.boolean(),
      isStale: fc.boolean(),
    });
    return fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 8 }), value, async (steps, last) => {
        const cluster = new Cluster();
        for (const { wanted, failures, withdraws, isStale } of steps) {
          const stale = new Map(cluster.there);
          for (let failure = 0; failure < failures; failure += 1) cluster.answers.push('fail');
          const wishes = Object.entries(wanted).map(([uid, one]) =>
            cluster.wish(uid, one, isStale ? stale.get(uid) : cluster.there.get(uid)),
          );
          if (withdraws) void cluster.writer.withdraw(wishes);
          cluster.writer.want(wishes);
        }
        const all = (): RedirectionWish[] => ['a', 'b', 'c'].map((uid) => cluster.wish(uid, last));
        for (let round = 0; round < 3; round += 1) {
          cluster.nowMs += 60_001;
          await cluster.want(...all());
        }
        expect(['a', 'b', 'c'].map((uid) => cluster.there.get(uid))).toEqual([last, last, last]);
      }),
      { numRuns: 60 },
    );
  });
});
