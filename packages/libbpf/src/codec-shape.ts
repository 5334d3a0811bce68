// Turns BTF into shapes: what a TypeScript value of a C type is. The generator's middle knows types and writes no text.
import { resolveType } from './btf.js';
import type { BtfEnum, BtfInt, BtfRecord, BtfType } from './btf.js';
import { refuse } from './error.js';
import { sizeOf } from './btf-maps.js';
import { camelCase, constantCase, pascalCase } from './codec-names.js';

/** What is between a C type and its bytes. */
export type Shape =
  | { kind: 'integer'; size: 1 | 2 | 4 | 8; signed: boolean }
  | { kind: 'boolean' }
  | { kind: 'enum'; name: string; size: 1 | 2 | 4 | 8; signed: boolean }
  /** u8[N] and char[N]: as bytes, not as numbers. */
  | { kind: 'bytes'; length: number }
  | { kind: 'array'; element: Shape; stride: number; count: number }
  | { kind: 'struct'; name: string };

export interface FieldShape {
  name: string;
  /** Bytes from the start of the struct. */
  offset: number;
  shape: Shape;
}

export interface StructShape {
  /** 'struct cgroup_info', for the comment. */
  cName: string;
  name: string;
  size: number;
  fields: FieldShape[];
}

export interface EnumShape {
  cName: string;
  name: string;
  /** It has 64 bits: its values are bigints. */
  wide: boolean;
  values: { name: string; value: number | bigint }[];
}

/** Members of these names are padding that the C code spells out: they are not shown, and are written as zeros. */
const PADDING_NAME = /^_*(pad|padding|unused|reserved)\d*$/;
const BITS = 8;

/** Collects the structs and enums that the requested types need: each once, and each before those that need it. */
export class ShapeCollector {
  readonly structs: StructShape[] = [];
  readonly enums: EnumShape[] = [];
  readonly #types: readonly BtfType[];
  readonly #names = new Map<string, number>();

  constructor(types: readonly BtfType[]) {
    this.#types = types;
  }

  /**
   * The shape of a type. A type that is not supported is refused; the message has the path to it (`where`, 'record.member').
   * `hint` names a type that has no name in C.
   */
  shape(id: number, where: string, hint: string): Shape {
    const type = resolveType(this.#types, id);
    switch (type.kind) {
      case 'int':
        return integer(type, where);
      case 'enum':
        return this.#enum(type, where, this.#typedefName(id) ?? hint);
      case 'struct':
        return { kind: 'struct', name: this.#struct(type, where, this.#typedefName(id) ?? hint) };
      case 'array':
        return this.#array(type.element, type.count, where, hint);
      default:
        throw cannot(where, type.kind === 'void' ? 'void' : `a ${type.kind}`);
    }
  }

  #array(element: number, count: number, where: string, hint: string): Shape {
    const inner = resolveType(this.#types, element);
    if (inner.kind === 'int' && inner.size === 1 && inner.encoding !== 'bool') return { kind: 'bytes', length: count };
    if (count === 0) throw cannot(where, 'an array without a length');
    return { kind: 'array', element: this.shape(element, where, hint), stride: sizeOf(this.#types, element), count };
  }

  #enum(type: BtfEnum, where: string, hint: string): Shape {
    const name = pascalCase(type.name || hint);
    // Such an enum comes from clang before 15, which silently cuts its values to 32 bits.
    if (type.size === 8 && !type.wide)
      throw cannot(where, 'a 64-bit enum whose values the compiler has cut to 32 bits');
    if (this.#claim(name, type.id, where)) {
      this.enums.push({
        cName: type.name === '' ? `enum ${hint}` : `enum ${type.name}`,
        name,
        wide: type.wide,
        values: withoutCount(name, type.values),
      });
    }
    return { kind: 'enum', name, size: width(type.size, where), signed: type.signed };
  }

  #struct(type: BtfRecord, where: string, hint: string): string {
    const cName = type.name || hint;
    const name = pascalCase(cName);
    if (this.#claim(name, type.id, where)) {
      const fields = this.#fields(type, cName, 0);
      this.structs.push({ cName: type.name === '' ? cName : `struct ${cName}`, name, size: type.size, fields });
    }
    return name;
  }

  #fields(type: BtfRecord, path: string, base: number): FieldShape[] {
    return type.members.flatMap((member) => {
      const where = `${path}.${member.name}`;
      if (PADDING_NAME.test(member.name)) return [];
      if (member.bitfieldSize !== 0 || member.bitOffset % BITS !== 0) throw cannot(where, 'a bit field');
      const offset = base + member.bitOffset / BITS;
      const inner = resolveType(this.#types, member.type);
      // The members of an anonymous struct are the outer one's, as in C.
      if (member.name === '' && inner.kind === 'struct') return this.#fields(inner, path, offset);
      const shape = this.shape(member.type, where, `${path}_${member.name}`);
      return [{ name: camelCase(member.name), offset, shape }];
    });
  }

  /** True the first time; throws if another type has the same name in TypeScript. */
  #claim(name: string, id: number, where: string): boolean {
    const holder = this.#names.get(name);
    if (holder === undefined) {
      this.#names.set(name, id);
      return true;
    }
    if (holder !== id) throw refuse('EINVAL', `cannot generate a codec for ${where}: two types are both named ${name}`);
    return false;
  }

  #typedefName(id: number): string | undefined {
    for (let type = this.#types[id]; type !== undefined;) {
      if (type.kind === 'typedef') return type.name;
      if (type.kind !== 'const' && type.kind !== 'volatile' && type.kind !== 'restrict') return undefined;
      type = this.#types[type.type];
    }
    return undefined;
  }
}

/** A last enumerator that has the plural of the enum's name says how many there are: VERDICTS of `enum verdict`. */
function withoutCount(name: string, values: BtfEnum['values']): BtfEnum['values'] {
  return values.at(-1)?.name === `${constantCase(name)}S` ? values.slice(0, -1) : values;
}

function integer(type: BtfInt, where: string): Shape {
  if (type.encoding === 'bool') return { kind: 'boolean' };
  if (type.bits !== type.size * BITS) throw cannot(where, 'a bit field');
  // Plain char is signed on x86 and unsigned on arm64: here a single char is a byte.
  return { kind: 'integer', size: width(type.size, where), signed: type.encoding === 'signed' };
}

function width(size: number, where: string): 1 | 2 | 4 | 8 {
  if (size === 1 || size === 2 || size === 4 || size === 8) return size;
  throw cannot(where, `an integer of ${size} bytes`);
}

function cannot(where: string, what: string): Error {
  return refuse('EINVAL', `cannot generate a codec for ${where}: it is ${what}. Change the C type`);
}
