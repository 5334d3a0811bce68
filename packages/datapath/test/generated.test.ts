// What is generated from bpf/ is stale as soon as something of it changes there.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));
const CODECS = [path('../../libbpf/dist/generate.js'), '--out', path('../src/generated/maps.ts'), '--check'];
const MAP_TABLE = [path('../dist/map-table.js'), '--check'];

describe('what is generated', () => {
  let bpf: string;
  beforeEach(() => {
    bpf = mkdtempSync(join(tmpdir(), 'sluice-bpf-'));
    cpSync(path('../../../bpf'), bpf, { recursive: true });
  });
  afterEach(() => rmSync(bpf, { recursive: true }));

  const edit = (file: string, before: string, after: string): void => {
    const source = readFileSync(join(bpf, file), 'utf8');
    expect(source).toContain(before);
    writeFileSync(join(bpf, file), source.replace(before, after));
    expect(spawnSync('make', ['--silent', '-C', bpf], { encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' });
  };
  const check = (command: readonly string[]): { status: number | null; stderr: string } =>
    spawnSync(process.execPath, command, { encoding: 'utf8' });
  const codecs = (): ReturnType<typeof check> => check([...CODECS, '--object', join(bpf, 'build/sluice.bpf.o')]);
  const mapTable = (): ReturnType<typeof check> => check([...MAP_TABLE, '--objects', join(bpf, 'build')]);

  it('is as it is committed', () => {
    expect([codecs(), mapTable()]).toMatchObject([{ status: 0 }, { status: 0 }]);
  });

  it('is stale when a map changes', () => {
    edit('maps.h', '#define NETNS_CAPACITY  4096', '#define NETNS_CAPACITY  4097');
    expect(codecs()).toMatchObject({ status: 1, stderr: expect.stringContaining('+    maxEntries: 4097') });
  });

  it('is stale when a program does something else with a map', () => {
    edit('getpeername.bpf.c', '    ctx->user_port = origin->port;\n', '$&    count_event(EVENT_ORIGIN_MOVED);\n');
    expect(codecs()).toMatchObject({ status: 0 });
    expect(mapTable()).toMatchObject({ status: 1, stderr: expect.stringContaining('maps.md is stale') });
  });
});
