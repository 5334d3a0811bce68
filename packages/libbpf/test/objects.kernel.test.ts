// Loading into the real kernel: what arrives there, and what an error says.
import { requires } from '@sluice/testbed';
import { describe, expect, it } from 'vitest';
import { BpfError, linkIds, mapIds, mapInfo, openObject, programInfo } from '../src/index.js';
import { objectPath } from './support/objects.js';
import { messageOf } from './support/places.js';

const need = requires('root', 'bpf');

describe.skipIf(need.skip)(`objects${need.label}`, () => {
  it('gives programs and maps their facts', () => {
    using object = openObject(objectPath('hooks'));
    object.load();
    const program = object.program('allow_connect4');
    expect(program).toMatchObject({
      name: 'allow_connect4',
      sectionName: 'cgroup/connect4',
      type: 'cgroup_sock_addr',
      attachType: 'cgroup_inet4_connect',
    });
    expect(programInfo(program.id)).toEqual(program.info());
    expect(program.info()).toMatchObject({ name: 'allow_connect4', loadedByUid: 0, gplCompatible: true });
    expect(program.info().tag).toMatch(/^[0-9a-f]{16}$/);
    expect(linkIds()).toBeInstanceOf(Array);
    expect(messageOf(() => object.program('nowhere'))).toContain("has no program 'nowhere'; it has allow_connect4");
  });

  it('writes variables before the verifier sees them', () => {
    const variables = (rodata?: Record<string, number | bigint>): unknown[] => {
      using object = openObject(objectPath('maps'), rodata === undefined ? {} : { rodata });
      object.load();
      const { ctx } = object.program('read_variables').testRun({ ctx: new Uint8Array(16) });
      if (ctx === undefined) throw new Error('no context came back');
      return [ctx.readBigUInt64LE(0), ctx.readInt32LE(8), ctx.readUInt16LE(12), ctx.readUInt8(14)];
    };
    expect(variables()).toEqual([0n, -1, 80, 0]);
    const mask = 0x8000_0000_0000_0001n;
    expect(variables({ port: 15001, offset: -2_000_000_000, enabled: 1, mask })).toEqual([
      mask,
      -2_000_000_000,
      15001,
      1,
    ]);
  });

  it('leaves out what autoload does not want', () => {
    using object = openObject(objectPath('refused'), { autoload: (name) => name === 'sound' });
    object.load();
    expect(object.programs().map((program) => program.name)).toEqual(['sound']);
  });

  it('shows the verifier’s reason when a program is refused, and leaves nothing behind', () => {
    const maps = mapIds();
    const object = openObject(objectPath('refused'));
    const message = messageOf(() => object.load());
    expect(message).toContain(`cannot load ${objectPath('refused')}: the kernel refused program 'unsound' (EACCES):`);
    expect(message).toMatch(/R\d invalid mem access 'map_value_or_null'$/);
    expect(message.split('\n').length).toBeLessThanOrEqual(17);
    expect(messageOf(() => object.load())).toContain('it is failed already');
    object.close();
    // Others on this machine make maps, too: look only for ours.
    expect(mapIds().filter((id) => !maps.includes(id) && nameOfMap(id) === 'values')).toEqual([]);
  });

  it('keeps the whole log in the error', () => {
    using object = openObject(objectPath('refused'));
    try {
      object.load();
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(BpfError);
      const { verifierLog, libbpfLog, code, syscall } = error as BpfError;
      expect(verifierLog).toMatch(/^processed \d+ insns/m);
      expect(libbpfLog).toContain("prog 'unsound': BPF program load failed");
      expect({ code, syscall }).toEqual({ code: 'EACCES', syscall: 'bpf_object__load' });
    }
  });

  it('gives programs and maps descriptors of their own: closing the object twice does not matter', () => {
    const object = openObject(objectPath('hooks'));
    object.load();
    const program = object.program('pass_lookup');
    object.close();
    object.close();
    expect(messageOf(() => program.fd)).toContain("program 'pass_lookup' is closed");
  });

  it('says that a type of program has no test run', () => {
    using object = openObject(objectPath('hooks'));
    object.load();
    const program = object.program('allow_connect4');
    expect(messageOf(() => program.testRun())).toContain(
      'the kernel has no test run for programs of type cgroup_sock_addr (ENOTSUPP)',
    );
  });
});

function nameOfMap(id: number): string {
  try {
    return mapInfo(id).name;
  } catch {
    return '';
  }
}
