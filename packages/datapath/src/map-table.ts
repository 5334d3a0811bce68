// Writes bpf/maps.md, the table of the maps, or checks that it is not stale. The object says what a map is, the programs'
// instructions say what they do with it, and the lists by which user space opens maps say what user space does.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { mapAccesses, type MapAccess } from '@sluice/libbpf';
import { USER_SPACE_WRITES } from './datapath.js';
import { GUARD_READS, GUARD_WRITES } from './guard/guard.js';
import { maps } from './generated/maps.js';
import { USER_SPACE_READS } from './installed.js';
import { CAPACITIES, PINNED_MAPS, type MapName } from './layout.js';

const TABLE = fileURLToPath(new URL('../../../bpf/maps.md', import.meta.url));
const OBJECTS = ['sluice.bpf.o', 'inbound.bpf.o', 'guard.bpf.o'];
const HEADER = ['map', 'type', 'key', 'value', 'entries', 'written by', 'read by'];

const { values } = parseArgs({
  options: {
    check: { type: 'boolean', default: false },
    objects: { type: 'string', default: fileURLToPath(new URL('../../../bpf/build', import.meta.url)) },
  },
});
const accesses = OBJECTS.flatMap((name) => mapAccesses(join(values.objects, name)));
const page = `<!-- Generated from the objects: npm run map-table -w @sluice/datapath. The build fails when it is stale. -->

# The maps

\`maps.h\` says what each map is for. A program is named by its hook, IPv4 and IPv6 together. A check whether an entry exists is a
read, and counting is a read and a write.

${table([HEADER, ...PINNED_MAPS.map(row)])}
`;

if (!values.check) writeFileSync(TABLE, page);
else if (readFileSync(TABLE, 'utf8') !== page) {
  process.stderr.write(`${TABLE} is stale: run npm run map-table -w @sluice/datapath and commit it\n`);
  process.exitCode = 1;
}

function row(name: MapName): string[] {
  const { type, maxEntries, ...types } = maps[name];
  const capacity = Object.entries(CAPACITIES).find(([, of]) => (of as readonly MapName[]).includes(name));
  const size = { sk_storage: 'one per socket', ringbuf: `${maxEntries} bytes` }[type as string] ?? String(maxEntries);
  return [
    `\`${name}\``,
    type,
    'keyType' in types ? `\`${types.keyType}\`` : '',
    'valueType' in types ? `\`${types.valueType}\`` : '',
    size + (capacity === undefined ? '' : `, \`capacities.${capacity[0]}\``),
    by(name, 'write', [...USER_SPACE_WRITES, ...GUARD_WRITES]),
    by(name, 'read', [...USER_SPACE_READS, ...GUARD_READS]),
  ];
}

function by(name: MapName, access: MapAccess['access'], userSpace: readonly MapName[]): string {
  const programs = accesses
    .filter((each) => each.map === name && each.access === access)
    .map(({ program }) => /^sluice_(.*?)[46]?$/.exec(program)?.[1] ?? program);
  return [...new Set([...programs, ...(userSpace.includes(name) ? ['user space'] : [])])].join(', ');
}

/** Formatted as prettier does it. */
function table([header = [], ...body]: readonly string[][]): string {
  const widths = header.map((_, column) => Math.max(...[header, ...body].map((cells) => cells[column]?.length ?? 0)));
  const line = (cells: readonly string[], fill = ' '): string =>
    `| ${widths.map((width, column) => (cells[column] ?? '').padEnd(width, fill)).join(' | ')} |`;
  return [line(header), line([], '-'), ...body.map((cells) => line(cells))].join('\n');
}
