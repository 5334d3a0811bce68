#!/usr/bin/env node
// sluice-bpf-codecs: writes the TypeScript codecs of a BPF object, or checks that those written are not stale.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { readBtf } from './btf.js';
import { generateCodecs } from './generate-codecs.js';
import { firstDifference } from './first-difference.js';

const USAGE = `usage: sluice-bpf-codecs --object x.bpf.o --out x.ts [--check]
  --object   the compiled object
  --out      the TypeScript file to write
  --check    write nothing; exit 1 when the file is not what would be written
`;

function main(): number {
  const { values } = parseArgs({
    options: {
      object: { type: 'string' },
      out: { type: 'string' },
      check: { type: 'boolean', default: false },
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
  const source = generateCodecs(readBtf(object), basename(object));
  if (!values.check) {
    mkdirSync(dirname(out), { recursive: true });
    writeFileSync(out, source);
    return 0;
  }
  const difference = firstDifference(existsSync(out) ? readFileSync(out, 'utf8') : undefined, source);
  if (difference === undefined) return 0;
  process.stderr.write(
    `${out} is stale: it is not what ${object} gives.\n${difference}\nGenerate it anew (the same command without --check) and commit it.\n`,
  );
  return 1;
}

try {
  process.exitCode = main();
} catch (error) {
  process.stderr.write(`sluice-bpf-codecs: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
