// The parsers of rules, routes, qdiscs and filters, under sanitizers: the corpus again, then new inputs for a bounded
// number of runs.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';

const packageRoot = fileURLToPath(new URL('..', import.meta.url));
const corpus = join(packageRoot, 'fuzz/corpus/rtnetlink');
const fuzzRuns = 50_000;

describe('the parsers of rules, routes and filters in a sanitizer build', () => {
  beforeAll(() => {
    execFileSync('make', ['-s', 'build/replay-rtnetlink', 'build/fuzz-rtnetlink'], { cwd: packageRoot });
  });

  it('replays its corpus', () => {
    const inputs = readdirSync(corpus).map((name) => join(corpus, name));
    const output = execFileSync(join(packageRoot, 'build/replay-rtnetlink'), inputs, { encoding: 'utf8' });
    expect(inputs.length).toBeGreaterThan(50);
    expect(output).toBe(`${inputs.length} inputs replayed\n`);
  });

  it(`survives ${fuzzRuns} new inputs`, () => {
    const found = mkdtempSync(join(tmpdir(), 'sluice-fuzz-'));
    try {
      // libFuzzer writes what it finds into the first directory: never into the committed corpus.
      const options = [`-runs=${fuzzRuns}`, '-max_len=4096', `-artifact_prefix=${found}/`, found, corpus];
      execFileSync(join(packageRoot, 'build/fuzz-rtnetlink'), options, { stdio: 'pipe' });
    } finally {
      rmSync(found, { recursive: true, force: true });
    }
  });
});
