// What an ELF object has beside its types: the instructions of each program, and the symbols that they refer to.
import { readFileSync } from 'node:fs';
import { refuse } from './error.js';

// elf(5), in little endian: the sizes of Elf64_Shdr, Elf64_Sym and Elf64_Rel, and the values that are looked for in them.
const SECTION_HEADER_BYTES = 64;
const SYMBOL_BYTES = 24;
const RELOCATION_BYTES = 16;
const SHT_SYMTAB = 2;
const SHT_REL = 9;
const STT_FUNC = 2;

/** struct bpf_insn of linux/bpf.h. */
export const INSTRUCTION_BYTES = 8;

export interface ProgramCode {
  name: string;
  code: Buffer;
  /** The map or variable that an instruction names, by the instruction's index. */
  names: ReadonlyMap<number, string>;
}

/** The functions of an object in the order of its symbols: programs, and functions that were not inlined into them. */
export function readProgramCode(objectPath: string): ProgramCode[] {
  const file = readFileSync(objectPath);
  const sections = rows(file, file.readBigUInt64LE(40), file.readUInt16LE(60), SECTION_HEADER_BYTES).map((header) => ({
    type: header.readUInt32LE(4),
    at: header.readBigUInt64LE(24),
    size: Number(header.readBigUInt64LE(32)),
    link: header.readUInt32LE(40),
    info: header.readUInt32LE(44),
  }));
  const section = (index: number): (typeof sections)[number] => {
    const found = sections[index];
    if (found === undefined)
      throw refuse('EINVAL', `${objectPath} refers to a section ${index}, which it does not have`);
    return found;
  };
  const table = section(sections.findIndex(({ type }) => type === SHT_SYMTAB));
  const strings = Number(section(table.link).at);
  const symbols = rows(file, table.at, table.size / SYMBOL_BYTES, SYMBOL_BYTES).map((row) => ({
    name: textAt(file, strings + row.readUInt32LE(0)),
    isFunction: (row.readUInt8(4) & 0xf) === STT_FUNC,
    section: row.readUInt16LE(6),
    start: Number(row.readBigUInt64LE(8)),
    size: Number(row.readBigUInt64LE(16)),
  }));
  return symbols
    .filter(({ isFunction }) => isFunction)
    .map(({ name, section: index, start, size }) => {
      const begin = Number(section(index).at) + start;
      const relocations = sections
        .filter(({ type, info }) => type === SHT_REL && info === index)
        .flatMap(({ at, size: bytes }) => rows(file, at, bytes / RELOCATION_BYTES, RELOCATION_BYTES))
        .map((row) => ({ at: Number(row.readBigUInt64LE(0)) - start, to: symbols[row.readUInt32LE(12)]?.name ?? '' }))
        .filter(({ at }) => at >= 0 && at < size)
        .map(({ at, to }) => [at / INSTRUCTION_BYTES, to] as const);
      return { name, code: file.subarray(begin, begin + size), names: new Map(relocations) };
    });
}

function rows(file: Buffer, at: bigint, count: number, size: number): Buffer[] {
  return Array.from({ length: count }, (_, row) =>
    file.subarray(Number(at) + row * size, Number(at) + (row + 1) * size),
  );
}

function textAt(file: Buffer, at: number): string {
  return file.toString('utf8', at, file.indexOf(0, at));
}
