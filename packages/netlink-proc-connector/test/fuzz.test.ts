// The parser under ASan and UBSan, with the committed corpus and with mutations of it.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const packageDirectory = fileURLToPath(new URL('..', import.meta.url));
const corpus = join(packageDirectory, 'fuzz/corpus');

describe('the parser under sanitizers', () => {
  let scratch: string;
  beforeAll(() => {
    scratch = mkdtempSync(join(tmpdir(), 'sluice-fuzz-'));
    cpSync(corpus, join(scratch, 'corpus'), { recursive: true });
    execFileSync('make', ['-s', 'fuzz'], { cwd: packageDirectory });
  });
  afterAll(() => rmSync(scratch, { recursive: true, force: true }));

  const fuzz = (...options: string[]): string =>
    execFileSync('sh', ['-c', 'exec "$0" "$@" 2>&1', join(packageDirectory, 'build/fuzz-parse'), ...options], {
      cwd: scratch,
      encoding: 'utf8',
    });

  it('survives its corpus', () => {
    expect(fuzz('corpus', '-runs=0')).toMatch(/Done \d+ runs/);
  });

  it('survives 20 000 mutations of it', () => {
    expect(fuzz('corpus', '-runs=20000')).toMatch(/Done 20000 runs/);
  });
});
