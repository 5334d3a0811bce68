// Writes shapes as TypeScript: interfaces, enums, and the statements that read and write bytes.
import type { EnumShape, Shape, StructShape } from './codec-shape.js';
import { enumeratorNames } from './codec-names.js';

/** Arrays up to this length become tuples, so that the compiler checks their length; longer ones are checked at run time. */
const LONGEST_TUPLE = 16;

/** A place in the buffer: `offset + 8`, or with the indexes of loops. */
interface Place {
  constant: number;
  terms: readonly string[];
}

function text({ constant, terms }: Place): string {
  const parts = constant === 0 && terms.length > 0 ? terms : [...terms, String(constant)];
  return parts.join(' + ');
}

function plus(place: Place, constant: number, term?: string): Place {
  return { constant: place.constant + constant, terms: term === undefined ? place.terms : [...place.terms, term] };
}

/** The TypeScript type of a shape. */
export function typeText(shape: Shape): string {
  switch (shape.kind) {
    case 'integer':
      return shape.size === 8 ? 'bigint' : 'number';
    case 'boolean':
      return 'boolean';
    case 'enum':
    case 'struct':
      return shape.name;
    case 'bytes':
      return 'Uint8Array';
    case 'array': {
      const element = typeText(shape.element);
      const inner = element.startsWith('readonly ') ? `(${element})` : element;
      if (shape.count > LONGEST_TUPLE) return `readonly ${inner}[]`;
      return `readonly [${Array.from({ length: shape.count }, () => element).join(', ')}]`;
    }
  }
}

/** Buffer's method for an integer, without its verb: 'UInt32LE'. */
function accessor(size: 1 | 2 | 4 | 8, signed: boolean): string {
  if (size === 8) return signed ? 'BigInt64LE' : 'BigUInt64LE';
  const width = size * 8;
  return `${signed ? '' : 'U'}Int${width}${size === 1 ? '' : 'LE'}`;
}

function read(shape: Shape, at: Place, depth: number): string {
  switch (shape.kind) {
    case 'integer':
      return `buffer.read${accessor(shape.size, shape.signed)}(${text(at)})`;
    case 'boolean':
      return `buffer.readUInt8(${text(at)}) !== 0`;
    case 'enum':
      return `buffer.read${accessor(shape.size, shape.signed)}(${text(at)}) as ${shape.name}`;
    case 'bytes':
      return `new Uint8Array(buffer.subarray(${text(at)}, ${text(plus(at, shape.length))}))`;
    case 'struct':
      return `decode${shape.name}(buffer, ${text(at)})`;
    case 'array': {
      if (shape.count <= LONGEST_TUPLE) {
        const elements = Array.from({ length: shape.count }, (_, index) =>
          read(shape.element, plus(at, index * shape.stride), depth),
        );
        return `[${elements.join(', ')}]`;
      }
      const index = `i${depth}`;
      const element = read(shape.element, plus(at, 0, `${index} * ${shape.stride}`), depth + 1);
      return `Array.from({ length: ${shape.count} }, (_, ${index}) => ${element})`;
    }
  }
}

function write(shape: Shape, value: string, at: Place, where: string, depth: number): string[] {
  switch (shape.kind) {
    case 'integer':
    case 'enum':
      return [`buffer.write${accessor(shape.size, shape.signed)}(${value}, ${text(at)});`];
    case 'boolean':
      return [`buffer.writeUInt8(${value} ? 1 : 0, ${text(at)});`];
    case 'bytes':
      return [`buffer.set(ofLength(${value}, ${shape.length}, '${where}'), ${text(at)});`];
    case 'struct':
      return [`encode${shape.name}(${value}, buffer, ${text(at)});`];
    case 'array': {
      if (shape.count <= LONGEST_TUPLE) {
        return Array.from({ length: shape.count }, (_, index) =>
          write(shape.element, `${value}[${index}]`, plus(at, index * shape.stride), where, depth),
        ).flat();
      }
      const index = `i${depth}`;
      const body = write(shape.element, `e${depth}`, plus(at, 0, `${index} * ${shape.stride}`), where, depth + 1);
      return [
        `ofLength(${value}, ${shape.count}, '${where}').forEach((e${depth}, ${index}) => {`,
        ...body.map((line) => `  ${line}`),
        '});',
      ];
    }
  }
}

/** Whether writing it needs the length check of HELPERS. */
export function needsLengthCheck(shape: Shape): boolean {
  if (shape.kind === 'bytes') return true;
  return shape.kind === 'array' && (shape.count > LONGEST_TUPLE || needsLengthCheck(shape.element));
}

/** A helper that goes into the written file if the file needs it. */
export const LENGTH_CHECK = `function ofLength<T extends { readonly length: number }>(value: T, length: number, where: string): T {
  if (value.length !== length) throw new RangeError(\`\${where} must have length \${length}, not \${value.length}\`);
  return value;
}
`;

/** An enum that counts from 0 without a gap also has its names in words, for people; the index is the value. */
export function emitEnum({ cName, name, wide, values }: EnumShape): string {
  const names = enumeratorNames(
    name,
    values.map((each) => each.name),
  );
  const words = names.map((each) => `'${each.toLowerCase().replaceAll('_', '-')}'`);
  const list = `${name.charAt(0).toLowerCase()}${name.slice(1)}Names`;
  return [
    `/** ${cName} */`,
    `export const ${name} = {`,
    ...values.map(({ value }, index) => `  ${names[index] ?? ''}: ${value}${wide ? 'n' : ''},`),
    '} as const;',
    `export type ${name} = (typeof ${name})[keyof typeof ${name}];`,
    ...(values.every(({ value }, index) => value === index)
      ? [
          `/** ${cName} in words, by value. */`,
          `export const ${list} = [${words.join(', ')}] as const;`,
          `export type ${name}Name = (typeof ${list})[number];`,
        ]
      : []),
    '',
  ].join('\n');
}

export function emitStruct({ cName, name, size, fields }: StructShape): string {
  const start = (offset: number): Place => ({ constant: offset, terms: ['offset'] });
  return [
    `/** ${cName}, ${size} ${size === 1 ? 'byte' : 'bytes'}. */`,
    `export interface ${name} {`,
    ...fields.map((field) => `  readonly ${field.name}: ${typeText(field.shape)};`),
    '}',
    `export function encode${name}(value: ${name}, buffer: Buffer = Buffer.alloc(${size}), offset = 0): Buffer {`,
    `  buffer.fill(0, offset, offset + ${size});`,
    ...fields
      .flatMap((field) => write(field.shape, `value.${field.name}`, start(field.offset), `${name}.${field.name}`, 0))
      .map((line) => `  ${line}`),
    '  return buffer;',
    '}',
    `export function decode${name}(buffer: Buffer, offset = 0): ${name} {`,
    '  return {',
    ...fields.map((field) => `    ${field.name}: ${read(field.shape, start(field.offset), 0)},`),
    '  };',
    '}',
    '',
  ].join('\n');
}

/** `encodeKey: ..., decodeKey: ...` of a row of the maps table; nothing for a map without types. */
export function emitMapSide(side: 'Key' | 'Value', shape: Shape | undefined, size: number, where: string): string[] {
  if (shape === undefined) return [];
  const type = typeText(shape);
  const start: Place = { constant: 0, terms: [] };
  if (shape.kind === 'struct') {
    return [
      `    encode${side}: (value: ${type}): Buffer => encode${type}(value),`,
      `    decode${side}: (buffer: Buffer): ${type} => decode${type}(buffer),`,
    ];
  }
  return [
    `    encode${side}: (value: ${type}): Buffer => {`,
    `      const buffer = Buffer.alloc(${size});`,
    ...write(shape, 'value', start, where, 0).map((line) => `      ${line}`),
    '      return buffer;',
    '    },',
    `    decode${side}: (buffer: Buffer): ${type} => ${read(shape, start, 0)},`,
  ];
}
