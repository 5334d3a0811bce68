// Pulling: order, bounds, what a full buffer leaves, errors, and that leaving the loop unsubscribes.
import fc from 'fast-check';
import { NEVER, Observable, of, Subject, throwError } from 'rxjs';
import { describe, expect, it } from 'vitest';
import { ChangeBuffer, EventBuffer } from '../src/pull-buffer.js';
import { pullChanges, pullEvents, type Process, type ProcessChange, type ProcessEvent } from '../src/index.js';
import { View } from './view.js';

const exec = (pid: number): ProcessEvent => ({ kind: 'exec', timestampNs: BigInt(pid), pid });
const process = (pid: number, startTime = 1n): Process => ({ pid, startTime, parentPid: 1 });
const change = (kind: 'started' | 'exec' | 'exited', of: Process): ProcessChange => ({
  kind,
  process: of,
  synthetic: false,
});

function drain<T>(buffer: { take(): T | undefined }): T[] {
  const items: T[] = [];
  for (let item = buffer.take(); item !== undefined; item = buffer.take()) items.push(item);
  return items;
}

describe('EventBuffer', () => {
  it('gives one overrun for what did not fit, behind what did', () => {
    const buffer = new EventBuffer(2);
    for (let pid = 1; pid <= 5; pid += 1) buffer.push(exec(pid));
    expect(drain(buffer)).toEqual([exec(1), exec(2), { kind: 'overrun', timestampNs: 5n, lost: 3, cause: 'consumer' }]);
    buffer.push(exec(6));
    expect(drain(buffer)).toEqual([exec(6)]);
  });
});

describe('ChangeBuffer', () => {
  const [a, b, c] = [process(1), process(2), process(3)];

  it('passes on what fits as it is', () => {
    const buffer = new ChangeBuffer(4);
    const changes: ProcessChange[] = [change('started', a), { kind: 'synced' }, change('exec', a), change('exited', a)];
    for (const item of changes) buffer.push(item);
    expect(drain(buffer)).toEqual(changes);
  });

  it('gives the difference for what does not fit', () => {
    const buffer = new ChangeBuffer(3);
    for (const item of [change('started', a), change('started', b), { kind: 'synced' } as const]) buffer.push(item);
    expect(drain(buffer)).toHaveLength(3);
    buffer.push(change('exited', a));
    buffer.push(change('exec', b));
    buffer.push(change('started', c));
    buffer.push(change('started', process(1, 9n))); // does not fit any more
    expect(drain(buffer)).toEqual([
      { kind: 'overrun', lost: 4, cause: 'consumer' },
      { kind: 'exited', process: a, synthetic: true },
      { kind: 'exec', process: b, synthetic: true },
      { kind: 'started', process: c, synthetic: true },
      { kind: 'started', process: process(1, 9n), synthetic: true },
      { kind: 'synced' },
    ]);
  });

  it('leaves `synced` to the stream when that is in the middle of a resync', () => {
    const buffer = new ChangeBuffer(1);
    buffer.push({ kind: 'overrun', lost: 1, cause: 'ring' });
    buffer.push(change('started', a));
    expect(drain(buffer).map((item) => item.kind)).toEqual(['overrun', 'started']);
    buffer.push({ kind: 'synced' });
    expect(drain(buffer)).toEqual([{ kind: 'synced' }]);
  });

  it('gives changes that add up, however slow the consumer', () => {
    const action = fc.oneof(
      fc.record({ do: fc.constantFrom('toggle' as const, 'exec' as const), pid: fc.integer({ min: 1, max: 5 }) }),
      fc.record({ do: fc.constant('take' as const), pid: fc.integer({ min: 1, max: 8 }) }),
    );
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6 }), fc.array(action, { maxLength: 80 }), (size, actions) => {
        const buffer = new ChangeBuffer(size);
        const live = new Map<number, Process>();
        const view = new View();
        let clock = 0n;
        buffer.push({ kind: 'synced' });
        for (const step of actions) {
          const known = live.get(step.pid);
          if (step.do === 'take') {
            for (let i = 0; i < step.pid; i += 1) {
              const item = buffer.take();
              if (item !== undefined) view.take(item);
            }
          } else if (step.do === 'exec') {
            if (known !== undefined) buffer.push(change('exec', known));
          } else if (known === undefined) {
            clock += 1n;
            live.set(step.pid, process(step.pid, clock));
            buffer.push(change('started', process(step.pid, clock)));
            live.set(step.pid, process(step.pid, clock));
          } else {
            live.delete(step.pid);
            buffer.push(change('exited', known));
          }
        }
        for (const item of drain(buffer)) view.take(item);
        expect(view.contradictions).toEqual([]);
        expect(new Map(view.live)).toEqual(new Map([...live].map(([pid, { startTime }]) => [pid, startTime])));
        expect(view.synced).toBe(true);
      }),
    );
  });
});

describe('pull', () => {
  it('hands out what came before and after it was asked', async () => {
    const source = new Subject<ProcessEvent>();
    const events = pullEvents(source);
    source.next(exec(1));
    expect(await events.next()).toEqual({ done: false, value: exec(1) });
    const asked = [events.next(), events.next()];
    source.next(exec(2));
    source.complete();
    expect(await Promise.all(asked)).toEqual([
      { done: false, value: exec(2) },
      { done: true, value: undefined },
    ]);
  });

  it('ends after the last item', async () => {
    const got: ProcessEvent[] = [];
    for await (const event of pullEvents(of(exec(1), exec(2)))) got.push(event);
    expect(got).toEqual([exec(1), exec(2)]);
  });

  it('throws the error of the source, once, behind what came before', async () => {
    const source = new Observable<ProcessEvent>((subscriber) => {
      subscriber.next(exec(1));
      subscriber.error(new Error('refused'));
    });
    const events = pullEvents(source);
    expect(await events.next()).toMatchObject({ value: exec(1) });
    await expect(events.next()).rejects.toThrow('refused');
    expect(await events.next()).toMatchObject({ done: true });
    await expect(pullChanges(throwError(() => new Error('at once'))).next()).rejects.toThrow('at once');
  });

  it('unsubscribes when the loop is left, and ends those who still wait', async () => {
    let subscribed = 0;
    const source = new Observable<ProcessEvent>((subscriber) => {
      subscribed += 1;
      subscriber.next(exec(1));
      return () => (subscribed -= 1);
    });
    for await (const event of pullEvents(source)) {
      expect([event, subscribed]).toEqual([exec(1), 1]);
      break;
    }
    expect(subscribed).toBe(0);
    const waiting = pullEvents(NEVER);
    const asked = waiting.next();
    await waiting.return?.();
    expect(await asked).toEqual({ done: true, value: undefined });
  });

  it.each([0, -1, 1.5])('refuses a buffer of %d', (bufferSize) => {
    expect(() => pullEvents(NEVER, { bufferSize })).toThrow(
      `bufferSize is ${bufferSize}; it has to be a positive integer`,
    );
  });
});
