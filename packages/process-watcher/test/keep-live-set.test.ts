// Operator keepLiveSet: when it scans, and what unsubscribing does. Marbles.
import { TestScheduler } from 'rxjs/testing';
import { describe, expect, it } from 'vitest';
import { LiveSet } from '../src/live-set.js';
import { keepLiveSet } from '../src/operators/keep-live-set.js';
import type { ProcessChange, ProcessEvent } from '../src/process-event.js';
import type { SeenProcess } from '@sluice/linux';

const seen = (pid: number, startTime: bigint, image = 'a'): SeenProcess => ({
  pid,
  comm: 'x',
  startTime,
  parentPid: 1,
  threads: 1,
  leaderEnded: false,
  image,
});
const change = (
  kind: 'started' | 'exec' | 'exited',
  pid: number,
  startTime: bigint,
  synthetic: boolean,
): ProcessChange => ({
  kind,
  process: { pid, startTime, parentPid: 1 },
  synthetic,
});
const overrun: ProcessEvent = { kind: 'overrun', timestampNs: 0n, lost: 2, cause: 'ring' };
const events = {
  f: { kind: 'fork', timestampNs: 20n, pid: 20, parentPid: 1 },
  e: { kind: 'exec', timestampNs: 21n, pid: 20 },
  x: { kind: 'exit', timestampNs: 22n, pid: 20, exitCode: 0 },
  y: { kind: 'exit', timestampNs: 22n, pid: 10, exitCode: 0 },
  o: overrun,
} satisfies Record<string, ProcessEvent>;
const told = {
  S: { kind: 'synced' },
  O: { kind: 'overrun', lost: 2, cause: 'ring' },
  I: change('started', 10, 10n, true),
  F: change('started', 20, 20n, false),
  G: change('started', 20, 20n, true),
  E: change('exec', 20, 20n, false),
  D: change('exec', 20, 20n, true),
  X: change('exited', 20, 20n, false),
  Y: change('exited', 10, 10n, false),
  Z: change('exited', 20, 20n, true),
} satisfies Record<string, ProcessChange>;

const run = (body: Parameters<TestScheduler['run']>[0]): void => {
  new TestScheduler((actual, wanted) => expect(actual).toEqual(wanted)).run(body);
};
/** A tick is a nanosecond here; process 20 exists when it is looked up. */
const makeSet = (): LiveSet =>
  new LiveSet(
    (pid) => (pid === 20 ? seen(20, 20n) : undefined),
    (ns) => ns,
  );

describe('keepLiveSet', () => {
  it('subscribes first, scans second, then follows', () => {
    run(({ hot, cold, expectObservable, expectSubscriptions }) => {
      const source = hot('------f-e-x-y', events);
      const scan = cold('--(s|)', { s: [seen(10, 10n)] });
      expectObservable(source.pipe(keepLiveSet({ makeSet, scan })), '^------------!').toBe('--(IS)F-E-X-Y', told);
      expectSubscriptions(source.subscriptions).toBe('^------------!');
      expectSubscriptions(scan.subscriptions).toBe('^-!');
    });
  });

  it('reports events during a scan at once, and the scan does not report them again', () => {
    run(({ hot, cold, expectObservable }) => {
      const source = hot('-f-x--', events);
      const scan = cold('----(s|)', { s: [seen(10, 10n), seen(20, 20n)] });
      expectObservable(source.pipe(keepLiveSet({ makeSet, scan })), '^--------!').toBe('-F-X(IS)', told);
    });
  });

  it('does not report again by an event what the scan has reported', () => {
    run(({ hot, cold, expectObservable }) => {
      const source = hot('----f-x', events);
      const scan = cold('-(s|)', { s: [seen(20, 20n)] });
      expectObservable(source.pipe(keepLiveSet({ makeSet, scan })), '^--------!').toBe('-(GS)-X', told);
      expectObservable(source.pipe(keepLiveSet({ makeSet, scan })), '^--------!').toBe('-(GS)-X', told);
    });
  });

  it('scans again after an overrun and reports the difference', () => {
    run(({ hot, cold, expectObservable }) => {
      const source = hot('-----o-----o-----o--', events);
      let scans = 0;
      const results = [[seen(10, 10n)], [seen(20, 20n, 'a')], [seen(20, 20n, 'b')], []];
      const scan = cold('-(s|)', {
        s: {
          *[Symbol.iterator]() {
            yield* results[scans++] ?? [];
          },
        },
      });
      expectObservable(source.pipe(keepLiveSet({ makeSet, scan })), '^------------------!').toBe(
        '-(IS)O(GTS)O(DS)-O(ZS)',
        { ...told, T: change('exited', 10, 10n, true) },
      );
    });
  });

  it('does not use a scan during which something was lost', () => {
    run(({ hot, cold, expectObservable }) => {
      const outcomes: string[] = [];
      const source = hot('-o------', events);
      const scan = cold('--(s|)', { s: [seen(10, 10n)] });
      const kept = source.pipe(keepLiveSet({ makeSet, scan, onScan: (outcome) => outcomes.push(outcome) }));
      expectObservable(kept, '^--------!').toBe('-O--(IS)', told);
    });
  });

  it('stops the scan when unsubscribed in the middle of it', () => {
    run(({ hot, cold, expectObservable, expectSubscriptions }) => {
      const source = hot('--------', events);
      const scan = cold('-----(s|)', { s: [] });
      expectObservable(source.pipe(keepLiveSet({ makeSet, scan })), '^--!').toBe('----');
      expectSubscriptions(source.subscriptions).toBe('^--!');
      expectSubscriptions(scan.subscriptions).toBe('^--!');
    });
  });

  it('errs with the source and with the scan, and closes the other', () => {
    run(({ hot, cold, expectObservable, expectSubscriptions }) => {
      const failing = hot<ProcessEvent>('--#');
      const endless = cold('-----');
      expectObservable(failing.pipe(keepLiveSet({ makeSet, scan: endless as never }))).toBe('--#');
      expectSubscriptions(endless.subscriptions).toBe('^-!');
      const source = hot('-----', events);
      expectObservable(source.pipe(keepLiveSet({ makeSet, scan: cold('---#') }))).toBe('---#');
      expectSubscriptions(source.subscriptions).toBe('^--!');
    });
  });

  it('stops amid a scan’s changes when the consumer leaves', () => {
    run(({ hot, cold }) => {
      const got: ProcessChange[] = [];
      const scan = cold('-(s|)', { s: [seen(10, 10n), seen(11, 10n), seen(12, 10n)] });
      const subscription = hot('---', events)
        .pipe(keepLiveSet({ makeSet, scan }))
        .subscribe((item) => {
          got.push(item);
          subscription.unsubscribe();
          expect(got).toHaveLength(1);
        });
    });
  });
});
