// Real processes whose threads end in unusual orders, and what /proc says meanwhile.
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { readProcess } from '@sluice/linux';
import { requires } from '@sluice/testbed';
import type { Subscription } from 'rxjs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { processEvents, type ProcessEvent } from '../src/index.js';

const need = requires('root', 'proc-connector');
const program = fileURLToPath(new URL('../build/threads', import.meta.url));

/** The program in one of its modes, controlled line by line. */
class Led {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  constructor(mode: string) {
    this.#child = spawn(program, [mode], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  get pid(): number {
    return this.#child.pid ?? expect.fail('not started');
  }

  async says(line: string): Promise<void> {
    expect(await this.#lines.next()).toMatchObject({ value: line });
  }

  goOn(): void {
    this.#child.stdin.write('\n');
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill('SIGKILL');
    await once(this.#child, 'exit');
  }
}

describe.skipIf(need.skip)(`threads${need.label}`, () => {
  let subscription: Subscription | undefined;
  let led: Led | undefined;
  let events: ProcessEvent[] = [];

  beforeEach(() => {
    events = [];
  });
  afterEach(async () => {
    subscription?.unsubscribe();
    await led?.end();
  });

  function watch(): void {
    subscription = processEvents().subscribe((event) => events.push(event));
  }

  const start = (mode: string): Led => (led = new Led(mode));
  const eventsOf = (pid: number): string[] =>
    events.filter((event) => event.kind !== 'overrun' && event.pid === pid).map((event) => event.kind);
  const settled = (pid: number, kinds: string[]): Promise<void> => expect.poll(() => eventsOf(pid)).toEqual(kinds);
  /** Waits until an event of this moment has arrived, so that all earlier ones have, too. */
  async function caughtUp(): Promise<void> {
    const marker = spawn('/bin/true');
    await once(marker, 'exit');
    await expect.poll(() => eventsOf(marker.pid ?? 0)).toEqual(['fork', 'exec', 'exit']);
  }

  it('a process whose first thread has ended lives until its last thread ends', async () => {
    watch();
    const { pid } = start('leader-exits');
    await settled(pid, ['fork', 'exec']);
    led?.goOn();
    await led?.says('leaving');
    await caughtUp();
    expect(eventsOf(pid)).toEqual(['fork', 'exec']);
    led?.goOn();
    await led?.says('ending');
    await settled(pid, ['fork', 'exec', 'exit']);
  });

  it('so it does when the watcher starts after its first thread has ended', async () => {
    const { pid } = start('leader-exits');
    led?.goOn();
    await led?.says('leaving');
    await expect.poll(() => readProcess('/proc', pid)?.leaderEnded).toBe(true);
    watch();
    led?.goOn();
    await settled(pid, ['exit']);
  });

  it('a process of which another thread calls exec stays the same process', async () => {
    watch();
    const { pid } = start('thread-execs');
    await led?.says('ready');
    led?.goOn();
    await led?.says('execed');
    await settled(pid, ['fork', 'exec', 'exec']);
    await caughtUp();
    expect(eventsOf(pid)).toEqual(['fork', 'exec', 'exec']);
    led?.goOn();
    await settled(pid, ['fork', 'exec', 'exec', 'exit']);
  });

  it('a hundred threads are not processes', async () => {
    watch();
    const { pid } = start('many');
    await led?.says('joined');
    await caughtUp();
    expect(eventsOf(pid)).toEqual(['fork', 'exec']);
    led?.goOn();
    await settled(pid, ['fork', 'exec', 'exit']);
  });
});
