// Opens the proc connector: completes the options, explains errors, and paces the batches so that the event loop goes on.
import { ProcEventBatch } from './batch.js';
import { explainOpenFailure, isSystemFailure, namespaceFacts, ProcConnectorError } from './error.js';
import { KIND_BITS, type ProcEventKind } from './event.js';
import { native, type NativeConnector, type NativeStats } from './native.js';

/** 8 MiB hold about 20 000 messages, a second of a heavy storm (the default of Linux holds a few hundred). */
const DEFAULT_RECEIVE_BUFFER_BYTES = 8 * 1024 * 1024;
/** 65 536 records of 64 bytes: 4 MiB, two seconds of 30 000 events/s with JavaScript blocked. */
const DEFAULT_RING_RECORDS = 65_536;
/** Letting messages gather for 2 ms costs a quarter of the CPU of reading each as it comes. */
const DEFAULT_LINGER_MS = 2;
/** The kernel answers within the system call; a second is far more than enough. */
const DEFAULT_ACK_TIMEOUT_MS = 1000;
const DEFAULT_KINDS: readonly ProcEventKind[] = ['fork', 'exec', 'exit'];
/** SO_RCVBUFFORCE doubles the value, which has to stay an int. */
const MAX_RECEIVE_BUFFER_BYTES = 2 ** 30 - 1;
const MAX_RING_RECORDS = 2 ** 24;

export interface ProcConnectorOptions {
  /** Called with each batch, never within `openProcConnector`. What it throws is an uncaught exception. */
  onBatch: (batch: ProcEventBatch) => void;
  /** Which kinds to hand on; default fork, exec and exit. Overruns always come. */
  kinds?: readonly ProcEventKind[];
  /** For SO_RCVBUFFORCE, in bytes; default 8 MiB. 0 keeps the system's default, which loses events in any burst. */
  receiveBufferBytes?: number;
  /** How many events may wait for JavaScript, 64 bytes each; default 65 536. */
  ringRecords?: number;
  /** How long the reader lets messages gather, in milliseconds; default 2, 0 reads at once. */
  lingerMs?: number;
  /** How long to wait for the kernel's acknowledgement, in milliseconds; default 1000. */
  ackTimeoutMs?: number;
}

/** Counters since the connector was opened; they only grow (except `receiveBufferBytes`) and outlive `close()`. */
export interface ProcConnectorStats {
  /** Well-formed messages of the kernel, of any kind. */
  messages: number;
  /** Datagrams that some process, not the kernel, sent to us. */
  foreign: number;
  /** Datagrams or messages shorter than their own headers say. */
  truncated: number;
  /** Lengths or CPU numbers that are impossible. */
  malformed: number;
  /** Netlink messages that do not belong to the proc connector. */
  unexpectedType: number;
  /** Messages of a kind this version does not know. */
  unknownKind: number;
  /** Sequence numbers that went backwards. */
  outOfOrder: number;
  /** Jumps in a CPU's sequence numbers. */
  gaps: number;
  /** Messages that are missing in these jumps: an exact count. */
  lost: number;
  /** Times that the kernel reported a full receive buffer. */
  enobufs: number;
  /** Other failures of recvmmsg(2). */
  receiveErrors: number;
  /** Events dropped because the ring was full. */
  ringLost: number;
  /** The receive buffer the kernel granted, its own doubling included. */
  receiveBufferBytes: number;
}

/** An open subscription. It keeps the process alive until it is closed. */
export interface ProcConnector extends Disposable {
  readonly closed: boolean;
  stats(): ProcConnectorStats;
  /** Unsubscribes, stops the thread and closes the socket; no batch comes after it. Idempotent. */
  close(): void;
}

/**
 * Subscribes to the process events of the kernel (Documentation/driver-api/connector.rst) and returns when the kernel has
 * acknowledged it: every event from then on is delivered or counted. Blocks for `ackTimeoutMs` at most.
 * @throws ProcConnectorError with the cause and the remedy; RangeError for an option out of its range.
 */
export function openProcConnector(options: ProcConnectorOptions): ProcConnector {
  return new OpenConnector(options);
}

class OpenConnector implements ProcConnector {
  readonly #native: NativeConnector;
  readonly #onBatch: (batch: ProcEventBatch) => void;
  #closed = false;

  constructor(options: ProcConnectorOptions) {
    this.#onBatch = options.onBatch;
    const normalised = {
      receiveBufferBytes: integer(
        'receiveBufferBytes',
        options,
        DEFAULT_RECEIVE_BUFFER_BYTES,
        0,
        MAX_RECEIVE_BUFFER_BYTES,
      ),
      ringRecords: integer('ringRecords', options, DEFAULT_RING_RECORDS, 1, MAX_RING_RECORDS),
      lingerMs: integer('lingerMs', options, DEFAULT_LINGER_MS, 0, 1000),
      ackTimeoutMs: integer('ackTimeoutMs', options, DEFAULT_ACK_TIMEOUT_MS, 1, 60_000),
      kindMask: (options.kinds ?? DEFAULT_KINDS).reduce((mask, kind) => (mask | KIND_BITS[kind]) >>> 0, 0),
    };
    const { Connector } = native();
    try {
      this.#native = new Connector(normalised, (batch, more) => this.#deliver(batch, more));
    } catch (cause) {
      if (!isSystemFailure(cause)) throw cause;
      throw new ProcConnectorError(explainOpenFailure(cause, namespaceFacts()), cause, { cause });
    }
  }

  get closed(): boolean {
    return this.#closed;
  }

  stats(): ProcConnectorStats {
    const stats: NativeStats = this.#native.stats();
    return stats;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#native.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #deliver(batch: ArrayBuffer, more: boolean): void {
    if (this.#closed) return;
    // Scheduled before the callback, which may throw. It is not a loop, so that timers and other I/O get their turn.
    if (more) setImmediate(() => this.#takeNext());
    if (batch.byteLength > 0) this.#onBatch(new ProcEventBatch(batch));
  }

  #takeNext(): void {
    if (this.#closed) return;
    const { batch, more } = this.#native.take();
    this.#deliver(batch, more);
  }
}

type IntegerOption = 'receiveBufferBytes' | 'ringRecords' | 'lingerMs' | 'ackTimeoutMs';

function integer(
  name: IntegerOption,
  options: ProcConnectorOptions,
  fallback: number,
  min: number,
  max: number,
): number {
  const value = options[name] ?? fallback;
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(`proc connector: ${name} is ${value}; it has to be an integer from ${min} to ${max}`);
  }
  return value;
}
