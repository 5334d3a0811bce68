// The map definitions of an object (SEC(".maps")), read from their types: libbpf's convention is that
// __uint(field, N) is a pointer to an array of N elements and __type(field, T) a pointer to T (bpf_helpers.h).
import { resolveType } from './btf.js';
import type { BtfRecord, BtfType } from './btf.js';
import { mapTypeName } from './names.js';
import { refuse } from './error.js';

export interface BtfMapDefinition {
  name: string;
  /** 'hash' */
  type: string;
  keySize: number;
  valueSize: number;
  maxEntries: number;
  flags: number;
  /** BTF type id of the key, when the definition has __type(key, ...). */
  keyType: number | undefined;
  valueType: number | undefined;
}

/** The maps in the order of the section. */
export function btfMaps(types: readonly BtfType[]): BtfMapDefinition[] {
  const section = types.find((type) => type.kind === 'section' && type.name === '.maps');
  if (section?.kind !== 'section') return [];
  return section.variables.flatMap(({ type: id }) => {
    const variable = types[id];
    if (variable?.kind !== 'variable') return [];
    const definition = resolveType(types, variable.type);
    return definition.kind === 'struct' ? [readMap(types, variable.name, definition)] : [];
  });
}

function readMap(types: readonly BtfType[], name: string, definition: BtfRecord): BtfMapDefinition {
  const target = (field: string): number | undefined => {
    const member = definition.members.find((each) => each.name === field);
    const pointer = member === undefined ? undefined : resolveType(types, member.type);
    return pointer?.kind === 'pointer' ? pointer.type : undefined;
  };
  const number = (field: string): number => {
    const id = target(field);
    const array = id === undefined ? undefined : resolveType(types, id);
    return array?.kind === 'array' ? array.count : 0;
  };
  const keyType = target('key');
  const valueType = target('value');
  return {
    name,
    type: mapTypeName(number('type')),
    keySize: keyType === undefined ? number('key_size') : sizeOf(types, keyType),
    valueSize: valueType === undefined ? number('value_size') : sizeOf(types, valueType),
    maxEntries: number('max_entries'),
    flags: number('map_flags'),
    keyType,
    valueType,
  };
}

/** sizeof in bytes. */
export function sizeOf(types: readonly BtfType[], id: number): number {
  const type = resolveType(types, id);
  switch (type.kind) {
    case 'int':
    case 'float':
    case 'enum':
    case 'struct':
    case 'union':
      return type.size;
    case 'array':
      return type.count * sizeOf(types, type.element);
    case 'pointer':
      // The BPF machine is a 64-bit one.
      return 8;
    default:
      throw refuse('EINVAL', `a ${type.kind} has no size`);
  }
}

/** A type as C names it: '__u64', 'struct tuple', '__u32[4]'. */
export function typeName(types: readonly BtfType[], id: number): string {
  const type = types[id];
  switch (type?.kind) {
    case 'struct':
    case 'enum':
      return `${type.kind} ${type.name}`;
    case 'array':
      return `${typeName(types, type.element)}[${type.count}]`;
    default:
      return type !== undefined && 'name' in type ? type.name : 'void';
  }
}
