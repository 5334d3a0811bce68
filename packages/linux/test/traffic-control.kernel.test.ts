// BPF filters in a namespace of the test’s own, compared with what `tc` shows.
import { requires } from '@sluice/testbed';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { detachTc, tcFilters } from '../src/index.js';
import { failureOf, NamedNetns, parsed, place } from './support/plumbing.js';

const need = requires('root', 'bpf', 'netns');

/** A filter of another kind, which matches everything. */
const U32 = ['u32', 'match', 'u32', '0', '0', 'classid', '1:1'];

describe.skipIf(need.skip)(`tc filters${need.label}`, () => {
  let netns: NamedNetns;
  beforeEach(() => {
    netns = new NamedNetns();
  });
  afterEach(() => netns?.remove());

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

  it('lists and detaches, with the qdisc, once', () => {
    expect(tcFilters(netns.open, 'lo')).toEqual([]);
    netns.addFilter('sluice_lo', place);
    const [filter, ...rest] = listed();
    expect(rest).toEqual([]);
    expect(filter).toMatchObject({ kind: 'bpf', pref: 100 });
    expect(filter?.options).toMatchObject({ handle: '0x1', bpf_name: 'sluice_lo' });
    const { id, tag } = filter?.options?.prog ?? {};
    expect(tcFilters(netns.open, 'lo')).toEqual([
      {
        kind: 'bpf',
        priority: 100,
        handle: 1,
        protocol: 3,
        chain: 0,
        bpf: { name: 'sluice_lo', programId: id, tag, directAction: true },
      },
    ]);
    expect(detachTc(netns.open, 'lo', place)).toEqual({ filter: 'deleted', qdisc: 'deleted' });
    expect(detachTc(netns.open, 'lo', place)).toEqual({ filter: 'absent', qdisc: 'absent' });
    expect(qdiscs()).toEqual([]);
  });

  it('keeps both directions apart', () => {
    const out = { ...place, direction: 'egress' } as const;
    netns.addFilter('sluice_lo', place);
    netns.addFilter('sluice_lo', out);
    expect(tcFilters(netns.open, 'lo', 'egress')).toHaveLength(1);
    expect(detachTc(netns.open, 'lo', place)).toEqual({ filter: 'deleted', qdisc: 'kept' });
    expect(listed('egress')).toHaveLength(1);
    expect(detachTc(netns.open, 'lo', out)).toEqual({ filter: 'deleted', qdisc: 'deleted' });
  });

  it('leaves another’s filters with their clsact', () => {
    netns.tc('qdisc', 'add', 'dev', 'lo', 'clsact');
    netns.tc('filter', 'add', 'dev', 'lo', 'ingress', 'pref', '7', 'protocol', 'ip', ...U32);
    const before = netns.tc('filter', 'show', 'dev', 'lo', 'ingress');
    netns.addFilter('sluice_lo', place);
    // u32 lists its hash table as well.
    const kinds = tcFilters(netns.open, 'lo').map(({ kind, priority }) => `${kind} ${priority}`);
    expect([...new Set(kinds)]).toEqual(['u32 7', 'bpf 100']);
    expect(detachTc(netns.open, 'lo', place)).toEqual({ filter: 'deleted', qdisc: 'kept' });
    expect(netns.tc('filter', 'show', 'dev', 'lo', 'ingress')).toBe(before);
  });

  it('keeps an empty clsact if it belongs to another', () => {
    netns.addFilter('sluice_lo', place);
    expect(detachTc(netns.open, 'lo', { ...place, qdisc: 'keep' })).toEqual({ filter: 'deleted', qdisc: 'kept' });
    expect(qdiscs()).toEqual(['clsact']);
  });

  it('never removes an ingress qdisc', () => {
    netns.tc('qdisc', 'add', 'dev', 'lo', 'ingress');
    netns.addFilter('sluice_lo', place);
    expect(listed()).toHaveLength(1);
    expect(detachTc(netns.open, 'lo', place)).toEqual({ filter: 'deleted', qdisc: 'kept' });
    expect(qdiscs()).toEqual(['ingress']);
  });

  it('does not remove what another has at the place', () => {
    netns.addFilter('theirs', place);
    expect(detachTc(netns.open, 'lo', place)).toEqual({ filter: 'absent', qdisc: 'kept' });
    expect(listed().map(({ options }) => options?.bpf_name)).toEqual(['theirs']);
  });

  it('reports a missing device when it looks, and has nothing to do when it removes', () => {
    expect(failureOf(() => tcFilters(netns.open, 'eth7')).code).toBe('ENODEV');
    expect(detachTc(netns.open, 'eth7', place)).toEqual({ filter: 'absent', qdisc: 'absent' });
  });
});
