// Values for `const volatile` variables, written before the object is loaded.
import type { BtfType } from './btf.js';
import { resolveType } from './btf.js';
import type { NativeObject } from './native.js';
import { refuse } from './error.js';

const BITS_PER_BYTE = 8n;

/** Writes integers into the variables of a section (.rodata). Their byte order is the machine's, little endian. */
export function writeVariables(
  handle: NativeObject,
  sectionName: string,
  values: Readonly<Record<string, number | bigint>>,
  path: string,
): void {
  const types = handle.btf();
  const section = types.find((type) => type.kind === 'section' && type.name === sectionName);
  // libbpf names the map after the object and the section, and finds it by the section alone.
  const bytes = section === undefined ? undefined : handle.initialValue(sectionName);
  const names =
    section?.kind === 'section' ? section.variables.flatMap((variable) => nameOf(types, variable.type) ?? []) : [];
  for (const [name, value] of Object.entries(values)) {
    const place =
      section?.kind === 'section'
        ? section.variables.find((variable) => nameOf(types, variable.type) === name)
        : undefined;
    if (place === undefined || bytes === undefined) {
      throw refuse(
        'ENOENT',
        `${path} has no variable '${name}' in ${sectionName}; it has ${names.join(', ') || 'none'}. ` +
          'Declare it "const volatile" in C, and use it there',
      );
    }
    const type = resolveType(types, place.type);
    if (type.kind !== 'int' && type.kind !== 'enum') {
      throw refuse('EINVAL', `variable '${name}' of ${path} is no integer but a ${type.kind}`);
    }
    const negative = type.kind === 'int' ? type.encoding === 'signed' : type.signed;
    writeInteger(bytes, place.offset, type.size, negative, value, name);
  }
  if (bytes !== undefined) handle.setInitialValue(sectionName, bytes);
}

function nameOf(types: readonly BtfType[], id: number): string | undefined {
  const type = types[id];
  return type?.kind === 'variable' ? type.name : undefined;
}

function writeInteger(
  bytes: Buffer,
  offset: number,
  size: number,
  signed: boolean,
  value: number | bigint,
  name: string,
): void {
  const wanted = BigInt(value);
  const bits = BigInt(size) * BITS_PER_BYTE;
  const [low, high] = signed ? [-(1n << (bits - 1n)), (1n << (bits - 1n)) - 1n] : [0n, (1n << bits) - 1n];
  if (wanted < low || wanted > high) {
    throw new RangeError(`variable '${name}' is ${size} bytes ${signed ? '' : 'un'}signed: ${wanted} does not fit`);
  }
  let rest = BigInt.asUintN(Number(bits), wanted);
  for (let at = 0; at < size; at++) {
    bytes[offset + at] = Number(rest & 0xffn);
    rest >>= BITS_PER_BYTE;
  }
}
