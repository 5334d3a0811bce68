// Operator processLevel: which events of threads are events of a process. Marbles, with /proc as a table.
import type { ProcEvent } from '@sluice/netlink-proc-connector';
import { TestScheduler } from 'rxjs/testing';
import { describe, expect, it } from 'vitest';
import { processLevel } from '../src/process-level.js';
import type { ProcessEvent } from '../src/process-event.js';
import type { ThreadGroupState } from '../src/thread-group-state.js';

const stamp = { timestampNs: 1n, cpu: 0 };
const fork = (pid: number, tgid = pid): ProcEvent => ({
  kind: 'fork',
  ...stamp,
  pid,
  tgid,
  parentPid: 1,
  parentTgid: 1,
});
const exec = (tgid: number): ProcEvent => ({ kind: 'exec', ...stamp, pid: tgid, tgid });
const exit = (pid: number, tgid = pid): ProcEvent => ({
  kind: 'exit',
  ...stamp,
  pid,
  tgid,
  exitCode: pid,
  exitSignal: 17,
  parentPid: 1,
  parentTgid: 1,
});
const overrun: ProcEvent = { kind: 'overrun', ...stamp, lost: 3, cause: 'socket' };

const forked = (pid: number): ProcessEvent => ({ kind: 'fork', timestampNs: 1n, pid, parentPid: 1 });
const execed = (pid: number): ProcessEvent => ({ kind: 'exec', timestampNs: 1n, pid });
const exited = (pid: number, exitCode = pid): ProcessEvent => ({ kind: 'exit', timestampNs: 1n, pid, exitCode });

/** Runs one diagram; `answers` are those of /proc, one for each question: one too many or too few fails the test. */
function diagram(
  input: string,
  events: Record<string, ProcEvent>,
  output: string,
  expected: Record<string, ProcessEvent>,
  answers: ThreadGroupState[] = [],
): void {
  const left = [...answers];
  new TestScheduler((actual, wanted) => expect(actual).toEqual(wanted)).run(({ cold, expectObservable }) => {
    const inspect = (pid: number): ThreadGroupState => left.shift() ?? expect.fail(`/proc was asked for ${pid}`);
    expectObservable(cold(input, events).pipe(processLevel(inspect))).toBe(output, expected);
  });
  expect(left).toEqual([]);
}

describe('processLevel', () => {
  it('passes the life of a process on, without asking /proc', () => {
    diagram('-f-e-x-|', { f: fork(10), e: exec(10), x: exit(10) }, '-f-e-x-|', {
      f: forked(10),
      e: execed(10),
      x: exited(10),
    });
  });

  it('hides threads, and asks /proc at the end of a process that had some', () => {
    diagram(
      '-f-t-u-x-|',
      { f: fork(10), t: fork(11, 10), u: exit(11, 10), x: exit(10) },
      '-f-----x-|',
      { f: forked(10), x: exited(10) },
      ['gone'],
    );
  });

  it('waits for the last thread when the first one ends before', () => {
    diagram(
      '-f-t-x-u-|',
      { f: fork(10), t: fork(11, 10), x: exit(10), u: exit(11, 10) },
      '-f-----u-|',
      { f: forked(10), u: exited(10, 11) },
      ['leaderless', 'gone'],
    );
  });

  it('keeps a leaderless process that makes new threads', () => {
    diagram(
      'ftxvuw|',
      { f: fork(10), t: fork(11, 10), x: exit(10), v: fork(12, 10), u: exit(11, 10), w: exit(12, 10) },
      'f----w|',
      { f: forked(10), w: exited(10, 12) },
      ['leaderless', 'leaderless', 'gone'],
    );
  });

  it('reports an end once when both ends are seen too late', () => {
    diagram(
      'ftxu|',
      { f: fork(10), t: fork(11, 10), x: exit(10), u: exit(11, 10) },
      'f-x-|',
      { f: forked(10), x: exited(10) },
      ['gone'],
    );
  });

  it('keeps a process alive whose other thread has called exec', () => {
    diagram(
      'ftxex|',
      { f: fork(10), t: fork(11, 10), x: exit(10), e: exec(10) },
      'f--ex|',
      { f: forked(10), e: execed(10), x: exited(10) },
      ['running', 'gone'],
    );
  });

  it('asks about a process older than the subscription', () => {
    diagram('u-v-x|', { u: exit(11, 10), v: exit(12, 10), x: exit(10) }, '----x|', { x: exited(10) }, [
      'running',
      'gone',
    ]);
  });

  it('ends a process whose first thread ended before the subscription', () => {
    diagram('u-v|', { u: exit(11, 10), v: exit(12, 10) }, '--v|', { v: exited(10, 12) }, ['leaderless', 'gone']);
  });

  it('trusts no count of threads after an overrun', () => {
    diagram(
      'f-o-x|',
      { f: fork(10), o: overrun, x: exit(10) },
      'f-o-x|',
      { f: forked(10), o: { kind: 'overrun', timestampNs: 1n, lost: 3, cause: 'socket' }, x: exited(10) },
      ['gone'],
    );
  });

  it('accepts a pid again, also when its fork was lost', () => {
    diagram('fxfx|', { f: fork(10), x: exit(10) }, 'fxfx|', { f: forked(10), x: exited(10) });
    diagram(
      'fxoy|',
      { f: fork(10), x: exit(10), o: overrun, y: exit(10) },
      'fxoy|',
      {
        f: forked(10),
        x: exited(10),
        o: { kind: 'overrun', timestampNs: 1n, lost: 3, cause: 'socket' },
        y: exited(10),
      },
      ['gone'],
    );
  });

  it('passes on errors and unsubscription', () => {
    new TestScheduler((actual, wanted) => expect(actual).toEqual(wanted)).run(
      ({ hot, expectObservable, expectSubscriptions }) => {
        const failing = hot('-f-#', { f: fork(10) });
        expectObservable(failing.pipe(processLevel(() => 'gone'))).toBe('-f-#', { f: forked(10) });
        const endless = hot('-f-f-f', { f: fork(10) });
        expectObservable(endless.pipe(processLevel(() => 'gone')), '--^-!').toBe('---f', { f: forked(10) });
        expectSubscriptions(endless.subscriptions).toBe('--^-!');
      },
    );
  });
});
