// Finds from the compiled instructions which program reads and which writes a map: an instruction names the map, it is passed
// to a helper, and the program reads or writes through the pointer to a value that comes back.
import { readBtf } from './btf.js';
import { btfMaps } from './btf-maps.js';
import { refuse } from './error.js';
import { helperName } from './names.js';
import { INSTRUCTION_BYTES, readProgramCode, type ProgramCode } from './program-code.js';

export interface MapAccess {
  program: string;
  map: string;
  access: 'read' | 'write';
}

/** What helpers do to the map that is passed to them. */
const HELPERS: Readonly<Record<string, { access: MapAccess['access']; returnsValue?: true }>> = {
  map_lookup_elem: { access: 'read', returnsValue: true },
  map_update_elem: { access: 'write' },
  map_delete_elem: { access: 'write' },
  // What the callback does to the values is not followed.
  for_each_map_elem: { access: 'read' },
  ringbuf_reserve: { access: 'write' },
  ringbuf_output: { access: 'write' },
  sk_storage_get: { access: 'read', returnsValue: true },
  sk_storage_delete: { access: 'write' },
  sock_hash_update: { access: 'write' },
};
/** Helpers that write to the memory that is their first argument, which may be a value of a map. */
const FILLING: ReadonlySet<string> = new Set(['probe_read_user_str', 'probe_read_kernel_str']);
const ARGUMENTS = [1, 2, 3, 4, 5];
const FLAGS_ARGUMENT = 4;
/** BPF_SK_STORAGE_GET_F_CREATE: sk_storage_get makes a value if there is none. */
const CREATE = 'number 1';

/** What may be in a register or a slot of the stack, as far as it matters here. */
type Fact = `map ${string}` | `value of ${string}` | `number ${number}`;
type Facts = ReadonlySet<Fact>;
/** By register, 0 to 9, and by the offset of a slot of the stack, which is negative. */
type State = Map<number, Facts>;
const NOTHING: Facts = new Set();
const FRAME = 10;

// Documentation/bpf/standardization/instruction-set.rst.
const [LD, LDX, ST, STX, JMP, JMP32] = [0, 1, 2, 3, 5, 6];
const [CLASS, OPERATION, MODE, SIZE, FROM_REGISTER] = [0x07, 0xf0, 0xe0, 0x18, 0x08];
const [ADD, SUB, MOV, ATOMIC, DOUBLE_WORD] = [0x00, 0x10, 0xb0, 0xc0, 0x18];
const [LOAD_WIDE, JUMP, CALL, EXIT] = [0x18, 0x05, 0x85, 0x95];

/**
 * What every program of an object may do to each map, each once, in the order of programs and maps. Looking for a value counts
 * as reading, whether it exists or not. BpfError EINVAL for a program with a function that was not inlined, and for one that
 * passes a map to a helper that is not known here.
 */
export function mapAccesses(objectPath: string): MapAccess[] {
  const maps = btfMaps(readBtf(objectPath)).map(({ name }) => name);
  return readProgramCode(objectPath).flatMap(({ name: program, code, names }) => {
    const named = new Map([...names].filter(([, name]) => maps.includes(name)));
    const found = walk({ name: program, code, names: named });
    for (const map of named.values()) {
      if (found.has(`read ${map}`) || found.has(`write ${map}`)) continue;
      throw refuse('EINVAL', `${program} names the map ${map}, and to what helper it is given is not found`);
    }
    return maps.flatMap((map) =>
      (['read', 'write'] as const)
        .filter((access) => found.has(`${access} ${map}`))
        .map((access) => ({ program, map, access })),
    );
  });
}

/** Follows every path through a program, whose names are those of maps, until nothing new is found: 'read x', 'write x'. */
function walk(program: ProgramCode): ReadonlySet<string> {
  const found = new Set<string>();
  const before = new Map<number, State>();
  const todo: number[] = [];
  const reach = (at: number, state: State): void => {
    const known = before.get(at);
    const joined = known === undefined ? state : join(known, state);
    if (joined === known) return;
    before.set(at, joined);
    todo.push(at);
  };
  reach(0, new Map());
  for (let at = todo.pop(); at !== undefined; at = todo.pop()) {
    const state: State = new Map(before.get(at));
    for (const next of step(program, at, state, found)) reach(next, state);
  }
  return found;
}

/** What either state says; `known` itself if the other adds nothing. */
function join(known: State, other: State): State {
  const joined: State = new Map(known);
  let isNew = false;
  for (const [place, facts] of other) {
    const both = new Set([...(known.get(place) ?? NOTHING), ...facts]);
    if (both.size === (known.get(place)?.size ?? 0)) continue;
    joined.set(place, both);
    isNew = true;
  }
  return isNew ? joined : known;
}

/** Applies one instruction to the state, and returns the instructions that may come next. */
function step({ name, code, names }: ProgramCode, at: number, state: State, found: Set<string>): number[] {
  const start = at * INSTRUCTION_BYTES;
  const opcode = code.readUInt8(start);
  const destination = code.readUInt8(start + 1) & 0xf;
  const source = code.readUInt8(start + 1) >> 4;
  const offset = code.readInt16LE(start + 2);
  const immediate = code.readInt32LE(start + 4);
  const held = (place: number): Facts => state.get(place) ?? NOTHING;
  const through = (register: number, access: MapAccess['access']): void => {
    for (const map of namesOf(held(register), 'value of ')) found.add(`${access} ${map}`);
  };
  switch (opcode & CLASS) {
    case LD: {
      const map = names.get(at);
      state.set(destination, map === undefined ? NOTHING : new Set<Fact>([`map ${map}`]));
      // A 64-bit immediate takes the room of two instructions.
      return [opcode === LOAD_WIDE ? at + 2 : at + 1];
    }
    case LDX:
      through(source, 'read');
      state.set(destination, source === FRAME && (opcode & SIZE) === DOUBLE_WORD ? held(offset) : NOTHING);
      return [at + 1];
    case ST:
    case STX:
      through(destination, 'write');
      if ((opcode & MODE) === ATOMIC) through(destination, 'read');
      if (destination === FRAME) state.set(offset, (opcode & CLASS) === STX ? held(source) : NOTHING);
      return [at + 1];
    case JMP:
    case JMP32:
      if (opcode === EXIT) return [];
      if (opcode === JUMP) return [at + 1 + offset];
      if (opcode !== CALL) return [at + 1, at + 1 + offset];
      if (source !== 0) throw refuse('EINVAL', `${name} calls a function that was not inlined, at instruction ${at}`);
      call(name, helperName(immediate), state, found);
      return [at + 1];
    default: {
      const operand = opcode & FROM_REGISTER ? held(source) : new Set<Fact>([`number ${immediate}`]);
      const operation = opcode & OPERATION;
      // A pointer stays a pointer: it does not matter to which byte of the value it points.
      const pointers = [...held(destination), ...operand].filter((fact) => !fact.startsWith('number'));
      if (operation === MOV) state.set(destination, operand);
      else state.set(destination, operation === ADD || operation === SUB ? new Set(pointers) : NOTHING);
      return [at + 1];
    }
  }
}

function call(program: string, helper: string, state: State, found: Set<string>): void {
  const known = HELPERS[helper];
  const given = ARGUMENTS.flatMap((argument) => namesOf(state.get(argument) ?? NOTHING, 'map '));
  if (known === undefined && given.length > 0)
    throw refuse(
      'EINVAL',
      `${program} gives the map ${given[0]} to bpf_${helper}, of which it is not known what it does`,
    );
  if (FILLING.has(helper)) for (const map of namesOf(state.get(1) ?? NOTHING, 'value of ')) found.add(`write ${map}`);
  const creates = helper === 'sk_storage_get' && state.get(FLAGS_ARGUMENT)?.has(CREATE) === true;
  for (const map of given) found.add(`${creates ? 'write' : known?.access} ${map}`);
  for (const argument of ARGUMENTS) state.set(argument, NOTHING);
  state.set(0, new Set(known?.returnsValue ? given.map((map): Fact => `value of ${map}`) : []));
}

function namesOf(facts: Facts, prefix: 'map ' | 'value of '): string[] {
  return [...facts].filter((fact) => fact.startsWith(prefix)).map((fact) => fact.slice(prefix.length));
}
