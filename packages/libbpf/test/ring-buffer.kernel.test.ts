// The ring buffer reader: order, completeness, the bound when JavaScript is busy, and its end.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { blockUntil, requires } from '@sluice/testbed';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openObject, RingBuffer } from '../src/index.js';
import type { BpfObject } from '../src/index.js';
import { objectPath } from './support/objects.js';
import { messageOf } from './support/places.js';

const need = requires('root', 'bpf');
const DIST = new URL('../dist/index.js', import.meta.url).href;
const RECORD_BYTES = 16;
/** The most records that one run of the program submits. */
const MOST_A_RUN = 4096;

describe.skipIf(need.skip)(`ring buffers${need.label}`, () => {
  let object: BpfObject;
  beforeEach(() => {
    object = openObject(objectPath('maps'));
    object.load();
  });
  afterEach(() => object.close());

  /** Has the kernel submit records `first`, `first + 1`, ...; returns how many did not fit into its ring. */
  function submit(first: number, count: number): number {
    const ctx = Buffer.alloc(16);
    ctx.writeBigUInt64LE(BigInt(first));
    ctx.writeUInt32LE(count, 8);
    return object.program('submit').testRun({ ctx }).ctx?.readUInt32LE(12) ?? 0;
  }

  it('deliver every record once and in order, in batches', async () => {
    const sequences: number[] = [];
    let batches = 0;
    const total = 3 * MOST_A_RUN;
    await new Promise<void>((resolve) => {
      const ring = new RingBuffer(object.map('records'), (batch, dropped) => {
        batches += 1;
        expect(dropped).toBe(0);
        for (const record of batch) {
          expect(record.length).toBe(RECORD_BYTES);
          expect(record.readBigUInt64LE(8)).toBe(record.readBigUInt64LE(0) * 2n);
          sequences.push(Number(record.readBigUInt64LE()));
        }
        if (sequences.length === total) {
          ring.close();
          resolve();
        }
      });
      for (let first = 0; first < total; first += MOST_A_RUN) expect(submit(first, MOST_A_RUN)).toBe(0);
    });
    expect(sequences).toEqual(Array.from({ length: total }, (_, index) => index));
    expect(batches).toBeLessThan(total);
  });

  it('drop and count what a busy event loop has no room for', async () => {
    const queueBytes = 100 * RECORD_BYTES;
    let delivered = 0;
    let dropped = 0;
    const rounds = 5;
    let refused = 0;
    await new Promise<void>((resolve, reject) => {
      const ring = new RingBuffer(
        object.map('records'),
        (batch, lost) => {
          delivered += batch.length;
          dropped += lost;
          expect(batch.length).toBeLessThanOrEqual(100);
          if (delivered + dropped + refused === rounds * MOST_A_RUN) {
            try {
              expect(ring.dropped).toBe(dropped);
              expect(dropped).toBeGreaterThan(0);
              resolve();
            } catch (error) {
              reject(error);
            }
            ring.close();
          }
        },
        { queueBytes },
      );
      // All in one turn of the event loop: nothing is delivered before the queue is full and more has come.
      for (let round = 0; round < rounds; round++) refused += submit(round * MOST_A_RUN, MOST_A_RUN);
      blockUntil('a record has been dropped', () => ring.dropped > 0);
    });
    expect(delivered).toBeGreaterThanOrEqual(100);
  });

  it('deliver nothing after close(), which may be called twice', async () => {
    let calls = 0;
    const ring = new RingBuffer(object.map('records'), () => {
      calls += 1;
    });
    submit(0, 10);
    ring.close();
    ring.close();
    ring.unref().ref();
    // Another reader of the map gets what comes from now on.
    await new Promise<void>((resolve) => {
      const next = new RingBuffer(object.map('records'), () => {
        next.close();
        resolve();
      });
      submit(10, 10);
    });
    expect(calls).toBe(0);
    expect(ring.dropped).toBe(0);
  });

  it('refuse a map that is not a ring buffer', () => {
    expect(messageOf(() => new RingBuffer(object.map('small_hash'), () => undefined))).toBe(
      "cannot read map 'small_hash' as a ring buffer: it is of type hash",
    );
  });

  it('pass what the callback throws to uncaughtException', () => {
    const source = `
      import { openObject, RingBuffer } from '${DIST}';
      const object = openObject('${objectPath('maps')}');
      object.load();
      const ring = new RingBuffer(object.map('records'), () => { throw new Error('from the callback'); });
      process.on('uncaughtException', (error) => { console.log(error.message); ring.close(); });
      const ctx = Buffer.alloc(16);
      ctx.writeUInt32LE(3, 8);
      object.program('submit').testRun({ ctx });`;
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', source], { encoding: 'utf8' });
    expect(output).toBe('from the callback\n');
  });

  it('are read in a thread that takes no signal', async () => {
    let arrived: () => void;
    const arrival = new Promise<void>((resolve) => (arrived = resolve));
    using _ring = new RingBuffer(object.map('records'), () => arrived());
    submit(0, 1);
    await arrival; // the thread runs, and has its name
    const readers = readdirSync('/proc/self/task').filter(
      (task) => readFileSync(`/proc/self/task/${task}/comm`, 'utf8') === 'ring-buffer\n',
    );
    expect(readers).toHaveLength(1);
    // All but SIGKILL (9) and SIGSTOP (19), which nobody can block, and 32 and 33, which are glibc's own.
    const status = readFileSync(`/proc/self/task/${readers[0]}/status`, 'utf8');
    expect(/^SigBlk:\s(.*)$/m.exec(status)?.[1]).toBe('fffffffe7ffbfeff');
  });

  it('tell what is missing where no thread can be made', () => {
    // Root is under no limit on tasks (RLIMIT_NPROC), so the process is nobody's, with the capabilities that the test needs.
    const capabilities = '+bpf,+net_admin,+perfmon,+dac_override';
    const nobody = ['--reuid=65534', '--regid=65534', '--clear-groups', `--inh-caps=${capabilities}`];
    const source = `
      import { execFileSync } from 'node:child_process';
      import { readdirSync } from 'node:fs';
      import { openObject, RingBuffer } from '${DIST}';
      const object = openObject('${objectPath('maps')}');
      object.load();
      const descriptors = () => readdirSync('/proc/self/fd').length;
      execFileSync('prlimit', ['--nproc=1', '--pid', String(process.pid)]);
      const before = descriptors();
      try {
        new RingBuffer(object.map('records'), () => {});
      } catch ({ name, message, code, syscall }) {
        console.log(JSON.stringify({ name, message, code, syscall, leaked: descriptors() - before }));
      }`;
    const node = [process.execPath, '--input-type=module', '-e', source];
    // The process ends by itself: what would have kept it alive has been released.
    const output = execFileSync('setpriv', [...nobody, `--ambient-caps=${capabilities}`, ...node], {
      encoding: 'utf8',
    });
    expect(JSON.parse(output)).toEqual({
      name: 'BpfError',
      message:
        "cannot read ring buffer 'records': pthread_create: Resource temporarily unavailable (EAGAIN). Raise the limit on tasks (pids.max, RLIMIT_NPROC)",
      code: 'EAGAIN',
      syscall: 'pthread_create',
      leaked: 0,
    });
  });

  it('end with the worker thread that left them open', async () => {
    const source = `
      const { parentPort, workerData } = require('node:worker_threads');
      import(workerData.module).then(({ openObject, RingBuffer }) => {
        const object = openObject(workerData.object);
        object.load();
        globalThis.ring = new RingBuffer(object.map('records'), () => {});
        parentPort.postMessage('open');
      });`;
    const worker = new Worker(source, { eval: true, workerData: { module: DIST, object: objectPath('maps') } });
    await new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    expect(await worker.terminate()).toBe(1);
  });
});
