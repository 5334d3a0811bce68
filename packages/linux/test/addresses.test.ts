// The parser of the kernel's answers, under sanitizers: the corpus again, then new inputs for a bounded number of runs.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';

const packageRoot = fileURLToPath(new URL('..', import.meta.url));
const corpus = join(packageRoot, 'fuzz/corpus/addresses');
const fuzzRuns = 20_000;

describe('the address parser in a sanitizer build', () => {
  beforeAll(() => {
    execFileSync('make', ['-s', 'build/replay-addresses', 'build/fuzz-addresses'], { cwd: packageRoot });
  });

  it('replays its corpus', () => {
    const inputs = readdirSync(corpus).map((name) => join(corpus, name));
    const output = execFileSync(join(packageRoot, 'build/replay-addresses'), inputs, { encoding: 'utf8' });
    expect(inputs.length).toBeGreaterThan(20);
    expect(output).toBe(`${inputs.length} inputs replayed\n`);
  });

  it(`survives ${fuzzRuns} new inputs`, () => {
    const found = mkdtempSync(join(tmpdir(), 'sluice-fuzz-'));
    try {
      // libFuzzer writes what it finds into the first directory: never into the committed corpus.
      const options = [`-runs=${fuzzRuns}`, '-max_len=4096', `-artifact_prefix=${found}/`, found, corpus];
      execFileSync(join(packageRoot, 'build/fuzz-addresses'), options, { stdio: 'pipe' });
    } finally {
      rmSync(found, { recursive: true, force: true });
    }
  });
});
