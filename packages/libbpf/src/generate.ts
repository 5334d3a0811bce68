#!/usr/bin/env node
// sluice-bpf-codecs: writes the TypeScript codecs of a BPF object, or checks that those written are not stale.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { readBtf } from './btf.js';
import { generateCodecs } from './generate-codecs.js';
import { firstDifference } from './first-difference.js';

const USAGE = `usage: sluice-bpf-codecs --object x.bpf.o --out x.ts [--check]
  --object   the compiled object
  --out      the TypeScript file to write
  --check    write nothing; exit 1 when the file is not what would be written
  --map      only this map (may be repeated; all maps without it)
  --struct   this struct too (may be repeated)
  --enum     this enum too (may be repeated)
  --skip     leave out struct_name.field_name (may be repeated)
`;

function main(): number {
  const { values } = parseArgs({
    options: {
      object: { type: 'string' },
      out: { type: 'string' },
      check: { type: 'boolean', default: false },
      map: { type: 'string', multiple: true },
      struct: { type: 'string', multiple: true },
      enum: { type: 'string', multiple: true },
      skip: { type: 'string', multiple: true },
      help: { type: 'boolean', default: false },
    },
  });
  const { object, out } = values;
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  if (object === undefined || out === undefined) {
    process.stderr.write(USAGE);
    return 2;
  }
  const source = generateCodecs(readBtf(object), {
    source: basename(object),
    ...(values.map === undefined ? {} : { maps: values.map }),
    ...(values.struct === undefined ? {} : { structs: values.struct }),
    ...(values.enum === undefined ? {} : { enums: values.enum }),
    ...(values.skip === undefined ? {} : { skip: values.skip }),
  });
  if (!values.check) {
    mkdirSync(dirname(out), { recursive: true });
    writeFileSync(out, source);
    return 0;
  }
  const difference = firstDifference(present(out), source);
  if (difference === undefined) return 0;
  process.stderr.write(
    `${out} is stale: it is not what ${object} gives.\n${difference}\nGenerate it anew (the same command without --check) and commit it.\n`,
  );
  return 1;
}

function present(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

try {
  process.exitCode = main();
} catch (error) {
  process.stderr.write(`sluice-bpf-codecs: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
