// BTF: the C types of an object as plain values, and simple questions about them.
import { existsSync } from 'node:fs';
import { native } from './native.js';
import { attempt, refuse } from './error.js';

export interface BtfMember {
  /** '' for an anonymous struct or union inside another. */
  name: string;
  type: number;
  bitOffset: number;
  /** 0 if it is not a bit field. */
  bitfieldSize: number;
}

export interface BtfInt {
  id: number;
  kind: 'int';
  name: string;
  /** Bytes. */
  size: number;
  bits: number;
  bitOffset: number;
  encoding: 'unsigned' | 'signed' | 'char' | 'bool';
}

export interface BtfRecord {
  id: number;
  kind: 'struct' | 'union';
  name: string;
  /** Bytes. */
  size: number;
  members: BtfMember[];
}

export interface BtfEnum {
  id: number;
  kind: 'enum';
  name: string;
  /** Bytes. */
  size: number;
  /** clang before 15 does not record it: it shows a negative enumerator as the unsigned number of the same bits. */
  signed: boolean;
  /** Of kind ENUM64. In any other enum the values are cut to 32 bits, whatever its size is. */
  wide: boolean;
  /** A bigint where a number would not be exact. */
  values: { name: string; value: number | bigint }[];
}

export interface BtfArray {
  id: number;
  kind: 'array';
  name: string;
  element: number;
  count: number;
}

export interface BtfModifier {
  id: number;
  kind: 'pointer' | 'typedef' | 'volatile' | 'const' | 'restrict' | 'typeTag' | 'declTag' | 'function';
  name: string;
  type: number;
}

export interface BtfVariable {
  id: number;
  kind: 'variable';
  name: string;
  type: number;
  /** 0 static, 1 global, 2 extern. */
  linkage: number;
}

export interface BtfSection {
  id: number;
  kind: 'section';
  /** '.maps', '.rodata' */
  name: string;
  size: number;
  /** Offsets in bytes; all are 0 in a file that clang wrote; openObject fills them in. */
  variables: { type: number; offset: number; size: number }[];
}

export interface BtfFunctionProto {
  id: number;
  kind: 'functionProto';
  name: string;
  returns: number;
  parameters: { name: string; type: number }[];
}

/** One type; its index in the array is its id, which the others refer to. Id 0 is void. */
export type BtfType =
  | { id: 0; kind: 'void' }
  | BtfInt
  | { id: number; kind: 'float'; name: string; size: number }
  | BtfArray
  | BtfRecord
  | BtfEnum
  | { id: number; kind: 'forward'; name: string; union: boolean }
  | BtfModifier
  | BtfVariable
  | BtfSection
  | BtfFunctionProto
  | { id: number; kind: 'unknown'; name: string; type: number };

/**
 * The types of an object file (or of a raw BTF file such as /sys/kernel/btf/vmlinux). BpfError with code ENOENT or
 * ENODATA when it has no BTF, LIBBPF_FORMAT when it is no ELF file.
 */
export function readBtf(objectPath: string): BtfType[] {
  return attempt(
    `read the types (BTF) of ${objectPath}`,
    () => native.readBtf(objectPath),
    (failure) => {
      switch (failure.code) {
        case 'ENOENT':
        case 'ENODATA':
          // For a file without a .BTF section libbpf 1.1 returns ENOENT, and later versions ENODATA.
          return existsSync(objectPath)
            ? `it has no BTF (${failure.code}). Compile it with clang -g, and strip it with llvm-strip -g only`
            : 'the file does not exist (ENOENT). Build it, or correct the path';
        case 'LIBBPF_FORMAT':
        case 'LIBBPF_LIBELF':
        case 'EPROTO':
        case 'EINVAL':
          return `it is neither an ELF object nor BTF (${failure.code})`;
        default:
          return undefined;
      }
    },
  );
}

/** The type itself behind typedefs, const, volatile, restrict, tags and variables. */
export function resolveType(types: readonly BtfType[], id: number): BtfType {
  for (let type = types[id]; type !== undefined;) {
    switch (type.kind) {
      case 'typedef':
      case 'const':
      case 'volatile':
      case 'restrict':
      case 'typeTag':
      case 'variable':
        type = types[type.type];
        break;
      default:
        return type;
    }
  }
  throw refuse('EINVAL', `the BTF has no type ${id}, or that type refers to one beyond its end`);
}
