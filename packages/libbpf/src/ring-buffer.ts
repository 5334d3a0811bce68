// RingBuffer: the records that BPF programs submit, in batches.
import { native } from './native.js';
import type { NativeRingReader } from './native.js';
import { attempt, refuse } from './error.js';
import type { BpfMap } from './map.js';

/** 4 MiB of records wait at most for a busy event loop. */
const DEFAULT_QUEUE_BYTES = 4 * 1024 * 1024;

export interface RingBufferOptions {
  /** Most bytes of records waiting for JavaScript; what comes beyond is dropped and counted. */
  queueBytes?: number;
}

/**
 * Reads a ring buffer map from a thread of its own. `onRecords` gets the records of a batch in their order, one call per
 * batch; they are views of one buffer made for this batch. It keeps the process alive until close() (or unref()).
 */
export class RingBuffer {
  readonly #reader: NativeRingReader;
  #closed = false;

  /**
   * @param onRecords `dropped`: how many records were lost behind this batch because JavaScript was too slow
   * @throws BpfError; its `syscall` is pthread_create where no thread can be made
   */
  constructor(map: BpfMap, onRecords: (batch: Buffer[], dropped: number) => void, options: RingBufferOptions = {}) {
    if (map.type !== 'ringbuf') {
      throw refuse('EINVAL', `cannot read map '${map.name}' as a ring buffer: it is of type ${map.type}`);
    }
    const deliver = (bytes: Buffer, lengths: Uint32Array, dropped: number): void => {
      // The thread's last batch may come after close(): who closed does not want it.
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

  /** Records dropped since the beginning because JavaScript was too slow. The kernel's own drops are not in it. */
  get dropped(): number {
    return this.#reader.dropped;
  }

  /** Lets the process end although this is open. */
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
