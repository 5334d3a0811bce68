// The command sluice-bpf-codecs, as a build calls it.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { objectPath } from './support/objects.js';

const COMMAND = fileURLToPath(new URL('../dist/generate.js', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'sluice-codecs-'));
afterAll(() => rmSync(directory, { recursive: true }));

function codecs(...args: string[]): { status: number | null; stderr: string } {
  const { status, stderr } = spawnSync(process.execPath, [COMMAND, ...args], { encoding: 'utf8' });
  return { status, stderr };
}

describe('sluice-bpf-codecs', () => {
  const out = join(directory, 'below', 'types.ts');
  const args = ['--object', objectPath('types'), '--out', out];

  it('writes, and then finds the file up to date', () => {
    expect(codecs(...args, '--check')).toEqual({ status: 1, stderr: expect.stringContaining('no such file yet') });
    expect(codecs(...args)).toEqual({ status: 0, stderr: '' });
    expect(codecs(...args, '--check')).toEqual({ status: 0, stderr: '' });
  });

  it('exits 1 and shows the first difference when the file is stale', () => {
    writeFileSync(out, readFileSync(out, 'utf8').replace('readonly x: number;', 'readonly z: number;'));
    const { status, stderr } = codecs(...args, '--check');
    expect(status).toBe(1);
    expect(stderr).toContain(`${out} is stale`);
    expect(stderr).toContain('-  readonly z: number;\n');
    expect(stderr).toContain('+  readonly x: number;\n');
    expect(stderr).toContain('Generate it anew');
  });

  it('exits 2 with its usage when it is not told what to do', () => {
    expect(codecs()).toEqual({ status: 2, stderr: expect.stringContaining('usage: sluice-bpf-codecs') });
  });

  it('says what is wrong with an object in one line', () => {
    const { status, stderr } = codecs('--object', objectPath('untyped'), '--out', out);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^sluice-bpf-codecs: cannot read the types .* it has no BTF .*clang -g.*\n$/);
  });
});
