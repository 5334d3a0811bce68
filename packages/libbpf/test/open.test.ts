// Opening objects and reading types: what can be wrong before the kernel is asked. It does not need root.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { BpfError, openObject, readBtf, trimVerifierLog } from '../src/index.js';
import { attachTypeName, attachTypeNumber, mapTypeName } from '../src/names.js';
import { objectPath } from './support/objects.js';
import { messageOf } from './support/places.js';

const VMLINUX = '/sys/kernel/btf/vmlinux';
const directory = mkdtempSync(join(tmpdir(), 'sluice-open-'));
const text = join(directory, 'text.bpf.o');
writeFileSync(text, 'this is no ELF file, but long enough to be looked at as one\n'.repeat(4));
afterAll(() => rmSync(directory, { recursive: true }));

describe('openObject', () => {
  it('says that a file is missing', () => {
    const message = messageOf(() => openObject('/nowhere/x.bpf.o'));
    expect(message).toBe(
      'cannot open /nowhere/x.bpf.o: the file does not exist (ENOENT). Build it, or correct the path',
    );
  });

  it('says that a file is no BPF object', () => {
    const message = messageOf(() => openObject(text));
    expect(message).toContain(`cannot open ${text}: it is no ELF object of BPF programs (LIBBPF_FORMAT)`);
    expect(message).toContain('clang -g -O2 -target bpf');
  });

  it('gives the errno, its name and the call', () => {
    try {
      openObject('/nowhere/x.bpf.o');
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(BpfError);
      expect(error).toMatchObject({ code: 'ENOENT', errno: 2, syscall: 'bpf_object__open_file' });
    }
  });

  it('keeps no memory of objects that were closed', () => {
    const residentMiB = (): number =>
      Number(/^RssAnon:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1024;
    const open = (): void => openObject(objectPath('maps')).close();
    open();
    const before = residentMiB();
    for (let times = 0; times < 4; times += 1) open();
    // A verifier log has 16 MiB, of which an object that is only opened needs none.
    expect(residentMiB() - before).toBeLessThan(12);
  });

  it('lists maps and programs as defined, with the options applied', () => {
    using object = openObject(objectPath('maps'), {
      maps: { small_hash: { maxEntries: 9 } },
      autoload: (name) => name === 'submit',
    });
    const definitions = object.mapDefinitions();
    // clang orders maps by their first use.
    expect(definitions.map((map) => `${map.name} ${map.type}`).toSorted()).toEqual([
      'large_hash hash',
      'listeners sockhash',
      'per_cpu percpu_array',
      'prefixes lpm_trie',
      'records ringbuf',
      'small_hash hash',
      'sockets sk_storage',
    ]);
    expect(definitions).toContainEqual({
      name: 'small_hash',
      type: 'hash',
      keySize: 8,
      valueSize: 4,
      maxEntries: 9,
      flags: 0,
    });
    expect(object.programDefinitions().map((program) => [program.name, program.autoload])).toEqual([
      ['read_variables', false],
      ['submit', true],
    ]);
  });

  it('refuses options for maps and variables that do not exist, and names those that do', () => {
    expect(messageOf(() => openObject(objectPath('maps'), { maps: { smal_hash: { maxEntries: 1 } } }))).toContain(
      "has no map 'smal_hash'; it has records, small_hash, large_hash",
    );
    expect(messageOf(() => openObject(objectPath('maps'), { rodata: { prot: 1 } }))).toContain(
      "has no variable 'prot' in .rodata; it has port, offset, enabled, mask",
    );
  });

  it('refuses a capacity that is not a valid number', () => {
    for (const maxEntries of [-1, 1.5, 2 ** 32, Number.NaN]) {
      expect(() => openObject(objectPath('maps'), { maps: { small_hash: { maxEntries } } })).toThrow(TypeError);
    }
  });

  it('refuses a value that does not fit its variable', () => {
    expect(() => openObject(objectPath('maps'), { rodata: { port: 65536 } })).toThrow(RangeError);
    expect(() => openObject(objectPath('maps'), { rodata: { port: -1 } })).toThrow(
      "variable 'port' is 2 bytes unsigned: -1 does not fit",
    );
  });

  it('gives no programs and maps before load() or after close()', () => {
    const object = openObject(objectPath('hooks'));
    expect(messageOf(() => object.program('allow_connect4'))).toContain('it is open, not loaded');
    object.close();
    object.close();
    expect(messageOf(() => object.map('x'))).toContain('it is closed, not loaded');
    expect(messageOf(() => object.load())).toContain('it is closed already');
  });
});

describe('readBtf', () => {
  it('gives types that refer to each other by id', () => {
    const types = readBtf(objectPath('types'));
    types.forEach((type, index) => expect(type.id).toBe(index));
    const point = types.find((type) => type.kind === 'struct' && type.name === 'point');
    expect(point).toMatchObject({
      size: 8,
      members: [
        { name: 'x', bitOffset: 0, bitfieldSize: 0 },
        { name: 'y', bitOffset: 32, bitfieldSize: 0 },
      ],
    });
  });

  it.skipIf(!existsSync(VMLINUX))('reads raw BTF too: the kernel’s own', () => {
    const types = readBtf(VMLINUX);
    expect(types.find((type) => type.kind === 'struct' && type.name === 'task_struct')).toBeDefined();
    expect(types.find((type) => type.kind === 'unknown')).toBeUndefined();
  });

  it('says that an object has no BTF, that a file is missing, that it is not an object', () => {
    expect(messageOf(() => readBtf(objectPath('untyped')))).toMatch(/it has no BTF \(\w+\)\. Compile it with clang -g/);
    expect(messageOf(() => readBtf('/nowhere/x.bpf.o'))).toContain('the file does not exist (ENOENT)');
    expect(messageOf(() => readBtf(text))).toContain('it is neither an ELF object nor BTF');
  });
});

describe('names', () => {
  it('are understood in the spellings of libbpf, of the kernel, of bpftool and of ELF sections', () => {
    const number = attachTypeNumber('cgroup_inet4_connect');
    for (const spelling of ['BPF_CGROUP_INET4_CONNECT', 'connect4', 'cgroup/connect4', 'CONNECT4']) {
      expect(attachTypeNumber(spelling)).toBe(number);
    }
    expect(attachTypeName(number)).toBe('cgroup_inet4_connect');
    expect(attachTypeName(attachTypeNumber('sockops'))).toBe('cgroup_sock_ops');
    expect(attachTypeName(attachTypeNumber('cgroup/getsockopt'))).toBe('cgroup_getsockopt');
    expect(attachTypeName(attachTypeNumber('getpeername6'))).toBe('cgroup_inet6_getpeername');
    expect(attachTypeName(attachTypeNumber('sendmsg4'))).toBe('cgroup_udp4_sendmsg');
    expect(messageOf(() => attachTypeNumber('connect5'))).toContain("'connect5' is no attach type");
  });

  it('show what libbpf does not know by number', () => {
    expect(mapTypeName(1)).toBe('hash');
    expect(mapTypeName(4711)).toBe('map_type_4711');
  });
});

describe('trimVerifierLog', () => {
  it('keeps the last lines, without the statistics, and says what is missing', () => {
    const lines = Array.from({ length: 30 }, (_, index) => `line ${index}`);
    const log = [...lines, 'processed 6 insns (limit 1000000) max_states_per_insn 0', ''].join('\n');
    expect(trimVerifierLog(log, 2)).toBe('... (28 lines before these)\nline 28\nline 29');
    expect(trimVerifierLog('one\ntwo\n')).toBe('one\ntwo');
  });
});
