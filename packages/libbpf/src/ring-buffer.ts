// RingBuffer: the records that BPF programs submit, in batches.
import { native } from './native.js';
import type { NativeRingReader } from './native.js';
import { attempt, refuse } from './error.js';
import type { BpfMap } from './map.js';

/** At most 4 MiB of records wait for a busy event loop. */
const DEFAULT_QUEUE_BYTES = 4 * 1024 * 1024;

export interface RingBufferOptions {
  /** The most bytes of records that wait for JavaScript; further records are dropped and counted. */
  queueBytes?: number;
}

/**
 * Reads a ring buffer map from a thread of its own. `onRecords` is called once for each batch, with its records in order; they
 * are views of one buffer made for this batch. The reader keeps the process alive until close() (or unref()).
 */
export class RingBuffer {
  readonly #reader: NativeRingReader;
  #closed = false;

  /**
   * @param onRecords `dropped`: how many records were lost after this batch because JavaScript was too slow
   * @throws BpfError; its `syscall` is pthread_create if no thread can be made
   */
  constructor(map: BpfMap, onRecords: (batch: Buffer[], dropped: number) => void, options: RingBufferOptions = {}) {
    if (map.type !== 'ringbuf') {
      throw refuse('EINVAL', `cannot read map '${map.name}' as a ring buffer: it is of type ${map.type}`);
    }
    const deliver = (bytes: Buffer, lengths: Uint32Array, dropped: number): void => {
      // The thread's last batch may come after close(), when it is not wanted any more.
      if (this.#closed) return;
      let offset = 0;
      const records: Buffer[] = [];
      for (const length of lengths) {
        records.push(bytes.subarray(offset, offset + length));
        offset += length;
      }
      onRecords(records, dropped);
    };
    this.#reader = attempt(
      `read ring buffer '${map.name}'`,
      () => new native.RingReader(map.fd, options.queueBytes ?? DEFAULT_QUEUE_BYTES, deliver),
      ({ syscall, code, text }) =>
        syscall === 'pthread_create'
          ? `${syscall}: ${text} (${code}). Raise the limit on tasks (pids.max, RLIMIT_NPROC)`
          : undefined,
    );
  }

  /** Records dropped since the beginning because JavaScript was too slow. Records that the kernel dropped do not count. */
  get dropped(): number {
    return this.#reader.dropped;
  }

  /** Lets the process end although the reader is open. */
  unref(): this {
    this.#reader.unref();
    return this;
  }

  /** Undoes unref(). */
  ref(): this {
    this.#reader.ref();
    return this;
  }

  /** Ends the thread and waits for it. No call comes after this. */
  close(): void {
    this.#closed = true;
    this.#reader.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
