// The command itself, with a few pods: what it prints agrees with what it keeps, and with its exit code.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LineProcess, requires } from '@sluice/testbed';
import { afterAll, describe, expect, it } from 'vitest';
import type { Sample } from '../src/start/sample.js';
import { summaryOf, type StartSummary } from '../src/start/summary.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
const MAIN = fileURLToPath(new URL('../dist/main.js', import.meta.url));

describe.skipIf(need.skip)(`bench start${need.label}`, () => {
  const out = mkdtempSync(join(tmpdir(), 'bench-'));
  afterAll(() => rmSync(out, { recursive: true }));

  it.each(['kubelet', 'none'])('counts what became of every dial; pauses: %s', async (delays) => {
    const options = [
      '--starts',
      '6',
      '--at-a-time',
      '3',
      '--delays',
      delays,
      '--seed',
      '1',
      '--out',
      out,
      '-o',
      'json',
    ];
    const bench = await LineProcess.start([process.execPath, MAIN, 'start', ...options]);
    const { code } = await bench.exited;
    expect([bench.stderr, bench.history.length]).toEqual([expect.stringContaining('6 of 6'), 1]);
    const printed = JSON.parse(bench.history[0] ?? '') as StartSummary;
    const samples = readFileSync(join(out, 'samples.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Sample);
    expect(printed).toMatchObject(JSON.parse(JSON.stringify(summaryOf(samples))) as object);
    expect(new Set(samples.map(({ start }) => start))).toEqual(new Set([0, 1, 2, 3, 4, 5]));
    for (const { ways } of samples) expect(ways.mesh + ways.direct).toBe(5);
    expect(code).toBe(printed.isAsPromised ? 0 : 1);
    expect(JSON.parse(readFileSync(join(out, 'summary.json'), 'utf8'))).toMatchObject({
      settings: { starts: 6, delays, atATime: 3, seed: 1 },
      machine: { cores: expect.any(Number) as number },
      dials: printed.dials,
    });
    expect(readFileSync(join(out, 'wait.svg'), 'utf8')).toContain('6 starts, 3 at a time');
  });
});
