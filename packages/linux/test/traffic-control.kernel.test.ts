// BPF filters in a namespace of the test’s own, compared with what `tc` shows.
import type { BpfObject } from '@sluice/libbpf';
import { requires } from '@sluice/testbed';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { attachTc, detachTc, tcFilters } from '../src/index.js';
import { failureOf, loadMarks, NamedNetns, parsed, place } from './support/plumbing.js';

const need = requires('root', 'bpf', 'netns');

/** A filter of another kind, which matches everything. */
const U32 = ['u32', 'match', 'u32', '0', '0', 'classid', '1:1'];

describe.skipIf(need.skip)(`tc filters${need.label}`, () => {
  let object: BpfObject;
  beforeAll(() => {
    object = loadMarks();
  });
  afterAll(() => object.close());
  let netns: NamedNetns;
  beforeEach(() => {
    netns = new NamedNetns();
  });
  afterEach(() => netns?.remove());

  const attachment = (program = 'pass_first'): typeof place & { programFd: number } => ({
    ...place,
    programFd: object.program(program).fd,
  });
  const qdiscs = (): string[] =>
    (parsed(netns.tc('-json', 'qdisc', 'show', 'dev', 'lo')) as { kind: string }[])
      .map(({ kind }) => kind)
      .filter((kind) => kind !== 'noqueue');
  interface Listed {
    kind: string;
    pref: number;
    options?: { handle: string; bpf_name: string; 'direct-action': boolean; prog: { id: number; tag: string } };
  }
  const listed = (direction = 'ingress'): Listed[] =>
    (parsed(netns.tc('-json', 'filter', 'show', 'dev', 'lo', direction)) as Listed[]).filter(({ options }) => options);

  it('attaches and detaches, with the qdisc, once', () => {
    expect(tcFilters(netns.open, 'lo')).toEqual([]);
    expect(attachTc(netns.open, 'lo', attachment())).toEqual({ filter: 'added', qdisc: 'added' });
    expect(attachTc(netns.open, 'lo', attachment())).toEqual({ filter: 'present', qdisc: 'present' });
    const [filter, ...rest] = listed();
    expect(rest).toEqual([]);
    const id = object.program('pass_first').id;
    expect(filter).toMatchObject({ kind: 'bpf', pref: 100 });
    expect(filter?.options).toMatchObject({ handle: '0x1', bpf_name: 'sluice_lo', prog: { id } });
    expect(tcFilters(netns.open, 'lo')).toEqual([
      {
        kind: 'bpf',
        priority: 100,
        handle: 1,
        protocol: 3,
        chain: 0,
        bpf: { name: 'sluice_lo', programId: id, tag: filter?.options?.prog.tag, directAction: true },
      },
    ]);
    expect(detachTc(netns.open, 'lo', place)).toEqual({ filter: 'deleted', qdisc: 'deleted' });
    expect(detachTc(netns.open, 'lo', place)).toEqual({ filter: 'absent', qdisc: 'absent' });
    expect(qdiscs()).toEqual([]);
  });

  it('replaces an older program of its own in place', () => {
    attachTc(netns.open, 'lo', attachment('pass_first'));
    expect(attachTc(netns.open, 'lo', attachment('pass_second'))).toEqual({ filter: 'replaced', qdisc: 'present' });
    expect(listed().map(({ options }) => options?.prog.id)).toEqual([object.program('pass_second').id]);
  });

  it('keeps both directions apart', () => {
    const out = { ...attachment('pass_second'), direction: 'egress' as const };
    attachTc(netns.open, 'lo', attachment());
    expect(attachTc(netns.open, 'lo', out)).toEqual({ filter: 'added', qdisc: 'present' });
    expect(tcFilters(netns.open, 'lo', 'egress').map(({ bpf }) => bpf?.programId)).toEqual([
      object.program('pass_second').id,
    ]);
    expect(detachTc(netns.open, 'lo', place)).toEqual({ filter: 'deleted', qdisc: 'kept' });
    expect(listed('egress')).toHaveLength(1);
    expect(detachTc(netns.open, 'lo', { ...place, direction: 'egress' })).toEqual({
      filter: 'deleted',
      qdisc: 'deleted',
    });
  });

  it('lives beside another’s filters, and leaves them with their clsact', () => {
    netns.tc('qdisc', 'add', 'dev', 'lo', 'clsact');
    netns.tc('filter', 'add', 'dev', 'lo', 'ingress', 'pref', '7', 'protocol', 'ip', ...U32);
    const before = netns.tc('filter', 'show', 'dev', 'lo', 'ingress');
    expect(attachTc(netns.open, 'lo', attachment())).toEqual({ filter: 'added', qdisc: 'present' });
    // u32 lists its hash table as well.
    const kinds = tcFilters(netns.open, 'lo').map(({ kind, priority }) => `${kind} ${priority}`);
    expect([...new Set(kinds)]).toEqual(['u32 7', 'bpf 100']);
    expect(detachTc(netns.open, 'lo', place)).toEqual({ filter: 'deleted', qdisc: 'kept' });
    expect(netns.tc('filter', 'show', 'dev', 'lo', 'ingress')).toBe(before);
  });

  it('keeps an empty clsact if it belongs to another', () => {
    netns.tc('qdisc', 'add', 'dev', 'lo', 'clsact');
    const { qdisc } = attachTc(netns.open, 'lo', attachment());
    expect(detachTc(netns.open, 'lo', { ...place, qdisc: qdisc === 'present' ? 'keep' : 'remove-if-empty' })).toEqual({
      filter: 'deleted',
      qdisc: 'kept',
    });
    expect(qdiscs()).toEqual(['clsact']);
  });

  it('uses an existing ingress qdisc instead of clsact, and never removes it', () => {
    netns.tc('qdisc', 'add', 'dev', 'lo', 'ingress');
    expect(attachTc(netns.open, 'lo', attachment())).toEqual({ filter: 'added', qdisc: 'present' });
    expect(listed()).toHaveLength(1);
    expect(detachTc(netns.open, 'lo', place)).toEqual({ filter: 'deleted', qdisc: 'kept' });
    expect(qdiscs()).toEqual(['ingress']);
  });

  it('neither replaces nor removes what another has at its place', () => {
    attachTc(netns.open, 'lo', { ...attachment(), name: 'theirs' });
    expect(failureOf(() => attachTc(netns.open, 'lo', attachment())).message).toMatch(
      /RTM_NEWTFILTER, lo, priority 100, handle 1\): EEXIST; something else has that place, and is left alone/,
    );
    expect(detachTc(netns.open, 'lo', place)).toEqual({ filter: 'absent', qdisc: 'kept' });
    expect(listed().map(({ options }) => options?.bpf_name)).toEqual(['theirs']);
  });

  it('leaves no clsact behind when the program is refused', () => {
    const failure = failureOf(() => attachTc(netns.open, 'lo', attachment('not_a_classifier')));
    expect(failure).toMatchObject({ code: 'EINVAL', syscall: 'rtnetlink' });
    expect(failureOf(() => attachTc(netns.open, 'lo', { ...place, programFd: 9999 })).code).toBe('EBADF');
    expect(qdiscs()).toEqual([]);
  });

  it('reports a missing device when it adds, and has nothing to do when it removes', () => {
    expect(failureOf(() => attachTc(netns.open, 'eth7', attachment())).code).toBe('ENODEV');
    expect(failureOf(() => tcFilters(netns.open, 'eth7')).code).toBe('ENODEV');
    expect(detachTc(netns.open, 'eth7', place)).toEqual({ filter: 'absent', qdisc: 'absent' });
  });

  it('quotes the kernel’s own words', () => {
    attachTc(netns.open, 'lo', attachment());
    netns.tc('filter', 'add', 'dev', 'lo', 'ingress', 'pref', '101', 'protocol', 'ip', ...U32);
    expect(failureOf(() => attachTc(netns.open, 'lo', { ...attachment(), priority: 101 })).message).toMatch(
      /"[A-Z].*"/,
    );
  });
});
