// The native parser against messages written by hand: every kind, every kind of damage, and the sequence numbers.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ProcEventBatch } from '../src/index.js';
import { KIND_BITS } from '../src/event.js';
import { native, type NativeCounters } from '../src/native.js';
import { commWords, concat, wire, WIRE_BYTES } from './wire.js';

const { Parser } = native();
const { fork: FORK, exec: EXEC, exit: EXIT } = KIND_BITS;

function parse(datagrams: readonly Uint8Array[], sender = 0, truncated = false) {
  const parser = new Parser();
  const events = datagrams.flatMap((datagram) => [...new ProcEventBatch(parser.feed(datagram, sender, truncated))]);
  return { events, counters: parser.counters() };
}

function nonZero(counters: NativeCounters): Partial<NativeCounters> {
  return Object.fromEntries(Object.entries(counters).filter(([, count]) => count !== 0));
}

describe('the parser', () => {
  const common = { timestampNs: 77n, cpu: 3 };
  const task = { ...common, pid: 11, tgid: 10 };
  it.each([
    ['fork', [1, 2, 11, 10], { ...task, parentPid: 1, parentTgid: 2 }],
    ['exec', [11, 10], task],
    ['exit', [11, 10, 256, 17, 1, 2], { ...task, exitCode: 256, exitSignal: 17, parentPid: 1, parentTgid: 2 }],
    ['comm', [11, 10, ...commWords('sluice')], { ...task, comm: 'sluice' }],
    ['uid', [11, 10, 1000, 0xffff_fffe], { ...task, realId: 1000, effectiveId: 0xffff_fffe }],
    ['gid', [11, 10, 5, 6], { ...task, realId: 5, effectiveId: 6 }],
    ['sid', [11, 10], task],
    ['ptrace', [11, 10, 7, 8], { ...task, tracerPid: 7, tracerTgid: 8 }],
    ['coredump', [11, 10, 1, 2], { ...task, parentPid: 1, parentTgid: 2 }],
  ] as const)('reads %s', (kind, words, expected) => {
    const { events, counters } = parse([wire({ kind: KIND_BITS[kind], cpu: 3, timestampNs: 77n, words })]);
    expect(events).toEqual([{ kind, ...expected }]);
    expect(nonZero(counters)).toEqual({ messages: 1 });
  });

  it('ends a comm without a NUL after 15 bytes', () => {
    const { events } = parse([wire({ kind: KIND_BITS.comm, words: [1, 1, ...commWords('0123456789abcdef')] })]);
    expect(events).toMatchObject([{ comm: '0123456789abcde' }]);
  });

  it('reads every message of a datagram', () => {
    const datagram = concat([0, 1, 2].map((seq) => wire({ kind: EXEC, seq, words: [seq, seq] })));
    expect(parse([datagram]).events.map((event) => 'pid' in event && event.pid)).toEqual([0, 1, 2]);
  });

  it.each<[string, Uint8Array, Partial<NativeCounters>]>([
    ['a datagram shorter than a header', wire({ kind: EXEC }).subarray(0, 9), { truncated: 1 }],
    ['a message longer than its datagram', wire({ kind: EXEC }, { nlmsgLen: WIRE_BYTES + 4 }), { truncated: 1 }],
    ['a message shorter than its header', wire({ kind: EXEC }, { nlmsgLen: 8 }), { malformed: 1 }],
    ['another netlink type', wire({ kind: EXEC }, { nlmsgType: 2 }), { unexpectedType: 1 }],
    ['another connector (idx)', wire({ kind: EXEC }, { idx: 6 }), { unexpectedType: 1 }],
    ['another connector (val)', wire({ kind: EXEC }, { val: 2 }), { unexpectedType: 1 }],
    ['a cn_msg longer than its message', wire({ kind: EXEC }, { len: 41 }), { truncated: 1 }],
    ['a cn_msg without an event', wire({ kind: EXEC }, { len: 3 }), { malformed: 1 }],
    ['an event too short for its kind', wire({ kind: EXIT }, { len: 36 }), { malformed: 1 }],
    ['a CPU that cannot be', wire({ kind: EXEC, cpu: 0xffff_ffff }), { malformed: 1 }],
    ['a kind of a later kernel', wire({ kind: 0x400 }), { messages: 1, unknownKind: 1 }],
  ])('skips %s and counts it', (_, datagram, expected) => {
    const { events, counters } = parse([datagram]);
    expect(events).toEqual([]);
    expect(nonZero(counters)).toEqual(expected);
  });

  it('goes on after a message that is not its own', () => {
    const { events, counters } = parse([
      concat([wire({ kind: EXEC }, { idx: 6 }), wire({ kind: FORK, words: [1, 1, 2, 2] })]),
    ]);
    expect(events).toMatchObject([{ kind: 'fork', pid: 2 }]);
    expect(nonZero(counters)).toEqual({ messages: 1, unexpectedType: 1 });
  });

  it('believes only the kernel', () => {
    const { events, counters } = parse([wire({ kind: EXIT, words: [1, 1] })], 4242);
    expect(events).toEqual([]);
    expect(nonZero(counters)).toEqual({ foreign: 1 });
  });

  it('skips what was truncated by the receive', () => {
    expect(nonZero(parse([wire({ kind: EXIT })], 0, true).counters)).toEqual({ truncated: 1 });
  });
});

describe('loss', () => {
  it('is counted by the jump of a CPU and precedes the message that shows it', () => {
    const { events, counters } = parse([
      wire({ kind: EXEC, cpu: 0, seq: 0xffff_fffe }),
      wire({ kind: EXEC, cpu: 1, seq: 500 }),
      wire({ kind: EXEC, cpu: 0, seq: 2, timestampNs: 9n }), // 0xffffffff, 0 and 1 are missing
      wire({ kind: EXEC, cpu: 1, seq: 501 }),
    ]);
    expect(events.map((event) => event.kind)).toEqual(['exec', 'exec', 'overrun', 'exec', 'exec']);
    expect(events[2]).toEqual({ kind: 'overrun', cpu: 0, timestampNs: 9n, lost: 3, cause: 'socket' });
    expect(counters).toMatchObject({ gaps: 1, lost: 3 });
  });

  it('includes a damaged message: the next one of its CPU shows the gap', () => {
    const { events } = parse([
      wire({ kind: EXEC, seq: 1 }),
      wire({ kind: EXIT, seq: 2 }, { len: 20 }),
      wire({ kind: EXEC, seq: 3 }),
    ]);
    expect(events.map((event) => event.kind)).toEqual(['exec', 'overrun', 'exec']);
  });

  it('does not include a message of an unknown kind', () => {
    const { events } = parse([1, 2, 3].map((seq) => wire({ kind: seq === 2 ? 0x400 : EXEC, seq })));
    expect(events.map((event) => event.kind)).toEqual(['exec', 'exec']);
  });

  it('that the socket reported is announced once the queue is empty, even if no gap shows it', () => {
    const parser = new Parser();
    parser.noteSocketOverrun();
    expect(new ProcEventBatch(parser.feed(wire({ kind: EXEC }), 0, false)).kind(0)).toBe('exec');
    expect([...new ProcEventBatch(parser.flushSocketOverrun())]).toMatchObject([
      { kind: 'overrun', cause: 'socket', lost: undefined, cpu: -1 },
    ]);
    expect(new ProcEventBatch(parser.flushSocketOverrun()).length).toBe(0);
  });

  it('that a gap has shown is not announced again', () => {
    const parser = new Parser();
    parser.feed(wire({ kind: EXEC, seq: 1 }), 0, false);
    parser.noteSocketOverrun();
    parser.feed(wire({ kind: EXEC, seq: 5 }), 0, false);
    expect(new ProcEventBatch(parser.flushSocketOverrun()).length).toBe(0);
  });

  it('is counted exactly for any stream, whichever messages are missing', () => {
    const message = fc.record({ cpu: fc.nat(7), delivered: fc.boolean() });
    fc.assert(
      fc.property(
        fc.array(message, { maxLength: 200 }),
        fc.array(fc.nat(0xffff_ffff), { minLength: 8, maxLength: 8 }),
        (messages, starts) => {
          const parser = new Parser();
          const next = [...starts];
          const missing = Array.from({ length: 8 }, () => 0);
          const seen = Array.from({ length: 8 }, () => false);
          let expected = 0;
          let reported = 0;
          let events = 0;
          for (const { cpu, delivered } of messages) {
            const seq = next[cpu] ?? 0;
            next[cpu] = (seq + 1) >>> 0;
            if (!delivered) {
              missing[cpu] = (missing[cpu] ?? 0) + 1;
              continue;
            }
            if (seen[cpu]) expected += missing[cpu] ?? 0;
            seen[cpu] = true;
            missing[cpu] = 0;
            for (const event of new ProcEventBatch(parser.feed(wire({ kind: EXEC, cpu, seq }), 0, false))) {
              if (event.kind === 'overrun') reported += event.lost ?? 0;
              else events += 1;
            }
          }
          expect(reported).toBe(expected);
          expect(events).toBe(messages.filter(({ delivered }) => delivered).length);
          expect(parser.counters().lost).toBe(expected);
        },
      ),
    );
  });

  it('never makes the parser throw or lose count, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 20 }), (datagrams) => {
        const { events, counters } = parse(datagrams);
        const overruns = events.filter((event) => event.kind === 'overrun').length;
        expect(events.length - overruns).toBeLessThanOrEqual(counters.messages);
      }),
    );
  });
});
