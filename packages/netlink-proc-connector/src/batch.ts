// A batch of records, each decoded only if somebody reads it. The layout is struct Record of native/record.h, in host byte
// order, hence typed arrays and no DataView.
import { ALL_KINDS, KIND_BITS, OVERRUN_BIT, type ProcEvent, type ProcEventKind } from './event.js';

/** Bytes of one record: recordBytes of native/record.h. */
const RECORD_BYTES = 64;
const WORDS = RECORD_BYTES / 4;

// Offsets in 32-bit words.
const KIND = 0;
const CPU = 1;
const TIMESTAMP_IN_QUADS = 1;
const PID = 4;
const TGID = 5;
const ARGS = 6;
const COMM_BYTE = 40;
const COMM_BYTES = 16;

const KIND_NAMES = new Map<number, ProcEvent['kind']>([
  ...ALL_KINDS.map((kind): [number, ProcEventKind] => [KIND_BITS[kind], kind]),
  [OVERRUN_BIT, 'overrun'],
]);

/**
 * Events in the order of the socket. `kind`, `pid` and `tgid` read one field of one event without making an object, for
 * consumers that drop most of what they see. A batch may be kept: nothing else writes to its memory.
 */
export class ProcEventBatch implements Iterable<ProcEvent> {
  /** Number of events. */
  readonly length: number;
  readonly #words: Int32Array;
  readonly #quads: BigUint64Array;
  readonly #bytes: Uint8Array;

  constructor(buffer: ArrayBuffer) {
    if (buffer.byteLength % RECORD_BYTES !== 0) {
      throw new RangeError(
        `a batch of ${buffer.byteLength} bytes is not a whole number of ${RECORD_BYTES}-byte records`,
      );
    }
    this.length = buffer.byteLength / RECORD_BYTES;
    this.#words = new Int32Array(buffer);
    this.#quads = new BigUint64Array(buffer);
    this.#bytes = new Uint8Array(buffer);
  }

  kind(index: number): ProcEvent['kind'] {
    const bits = this.#word(index, KIND) >>> 0;
    const name = KIND_NAMES.get(bits);
    if (name === undefined) throw new Error(`record ${index} has the unknown kind 0x${bits.toString(16)}`);
    return name;
  }

  pid(index: number): number {
    return this.#word(index, PID);
  }

  tgid(index: number): number {
    return this.#word(index, TGID);
  }

  at(index: number): ProcEvent {
    const kind = this.kind(index);
    const cpu = this.#word(index, CPU);
    // It exists, because the record's words above did.
    const timestampNs = this.#quads[index * (RECORD_BYTES / 8) + TIMESTAMP_IN_QUADS] ?? 0n;
    const arg = (n: number): number => this.#word(index, ARGS + n);
    if (kind === 'overrun') {
      const lost = arg(1) === 0 ? undefined : arg(2) >>> 0;
      return { kind, timestampNs, cpu, lost, cause: arg(0) === 1 ? 'socket' : 'ring' };
    }
    const task = { timestampNs, cpu, pid: this.pid(index), tgid: this.tgid(index) };
    switch (kind) {
      case 'fork':
      case 'coredump':
        return { kind, ...task, parentPid: arg(0), parentTgid: arg(1) };
      case 'exec':
      case 'sid':
        return { kind, ...task };
      case 'exit':
        return { kind, ...task, exitCode: arg(0), exitSignal: arg(1), parentPid: arg(2), parentTgid: arg(3) };
      case 'comm':
        return { kind, ...task, comm: this.#comm(index) };
      case 'uid':
      case 'gid':
        return { kind, ...task, realId: arg(0) >>> 0, effectiveId: arg(1) >>> 0 };
      case 'ptrace':
        return { kind, ...task, tracerPid: arg(0), tracerTgid: arg(1) };
    }
  }

  *[Symbol.iterator](): Iterator<ProcEvent> {
    for (let index = 0; index < this.length; index++) yield this.at(index);
  }

  #word(index: number, word: number): number {
    const value = index >= 0 && index < this.length ? this.#words[index * WORDS + word] : undefined;
    if (value === undefined) throw new RangeError(`no event ${index} in a batch of ${this.length}`);
    return value;
  }

  #comm(index: number): string {
    const start = index * RECORD_BYTES + COMM_BYTE;
    const field = this.#bytes.subarray(start, start + COMM_BYTES);
    const end = field.indexOf(0);
    return Buffer.from(field.subarray(0, end < 0 ? COMM_BYTES : end)).toString('utf8');
  }
}
