// The observables for a consumer that works asynchronously: it asks for the next item when it has done with the last.
import type { Observable } from 'rxjs';
import type { ProcessChange, ProcessEvent } from './process-event.js';
import { ChangeBuffer, EventBuffer, type PullBuffer } from './pull-buffer.js';

export interface PullOptions {
  /** How many items may wait for the consumer; default 4096. */
  bufferSize?: number;
}

const DEFAULT_BUFFER_SIZE = 4096;

/** `processEvents()` for `for await`. Beyond the buffer: one overrun with cause `consumer`. Leaving the loop unsubscribes. */
export function pullEvents(
  source: Observable<ProcessEvent>,
  options: PullOptions = {},
): AsyncIterableIterator<ProcessEvent> {
  return pull(source, new EventBuffer(sizeOf(options)));
}

/**
 * `processes()` for `for await`. Beyond the buffer: an overrun with cause `consumer`, then the synthetic changes from what
 * the consumer knows to what is, then `synced`; this needs no scan. Leaving the loop unsubscribes.
 */
export function pullChanges(
  source: Observable<ProcessChange>,
  options: PullOptions = {},
): AsyncIterableIterator<ProcessChange> {
  return pull(source, new ChangeBuffer(sizeOf(options)));
}

function sizeOf({ bufferSize = DEFAULT_BUFFER_SIZE }: PullOptions): number {
  if (!Number.isInteger(bufferSize) || bufferSize < 1) {
    throw new RangeError(`process watcher: bufferSize is ${bufferSize}; it has to be a positive integer`);
  }
  return bufferSize;
}

type End = { kind: 'open' } | { kind: 'done' } | { kind: 'error'; error: unknown };

interface Waiting<T> {
  resolve: (result: IteratorResult<T>) => void;
  reject: (error: unknown) => void;
}

function pull<T>(source: Observable<T>, buffer: PullBuffer<T>): AsyncIterableIterator<T> {
  let end: End = { kind: 'open' };
  const waiting: Waiting<T>[] = [];
  const serve = (): void => {
    while (waiting.length > 0) {
      const value = buffer.take();
      if (value === undefined && end.kind === 'open') return;
      const { resolve, reject } = waiting.shift() as Waiting<T>;
      if (value !== undefined) {
        resolve({ done: false, value });
      } else if (end.kind === 'error') {
        reject(end.error);
        end = { kind: 'done' }; // an error is told once
      } else {
        resolve({ done: true, value: undefined });
      }
    }
  };
  const subscription = source.subscribe({
    next: (item) => {
      buffer.push(item);
      serve();
    },
    error: (error: unknown) => {
      end = { kind: 'error', error };
      serve();
    },
    complete: () => {
      end = { kind: 'done' };
      serve();
    },
  });
  return {
    next: () =>
      new Promise((resolve, reject) => {
        waiting.push({ resolve, reject });
        serve();
      }),
    return: () => {
      subscription.unsubscribe();
      end = { kind: 'done' };
      for (const { resolve } of waiting.splice(0)) resolve({ done: true, value: undefined });
      return Promise.resolve({ done: true, value: undefined });
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
