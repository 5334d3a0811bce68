// The tc program of a pod's loopback: it changes the marks that it should, and can be attached where it belongs.
import { openObject } from '@sluice/libbpf';
import { attachTc, detachTc, Netns, tcFilters } from '@sluice/linux';
import { requires } from '@sluice/testbed';
import { describe, expect, it } from 'vitest';
import { LOOPBACK_PROGRAM, OBJECT_PATH } from '../src/layout.js';
import { MeshedNode } from './meshed-node.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');

/** linux/bpf.h, struct __sk_buff: its size, and where the mark is. */
const CONTEXT_BYTES = 192;
const MARK_OFFSET = 8;
/** An Ethernet header and an IPv4 header: the kernel runs no tc program on less. */
const PACKET = Buffer.alloc(64);

describe.skipIf(need.skip)(`the loopback of a pod${need.label}`, () => {
  it.each([
    [0x539, 0x111],
    [0xabcd0539, 0xabcd0111],
    [0, 0],
    [0x111, 0x111],
    [0x538, 0x538],
    [0x1539, 0x1111],
  ])('turns the mark %i into %i, and leaves the packet to the next filter', (before, after) => {
    using object = openObject(OBJECT_PATH, { autoload: (name) => name === LOOPBACK_PROGRAM });
    object.load();
    const ctx = Buffer.alloc(CONTEXT_BYTES);
    ctx.writeUInt32LE(before, MARK_OFFSET);
    const result = object.program(LOOPBACK_PROGRAM).testRun({ data: PACKET, ctx });
    expect(result.retval | 0).toBe(-1); // TC_ACT_UNSPEC of linux/pkt_cls.h
    expect(result.ctx?.readUInt32LE(MARK_OFFSET)).toBe(after);
  });

  it('takes the program from the datapath, and keeps it when the agent goes', async () => {
    await using mesh = await MeshedNode.create();
    const pod = await mesh.node.pod({ name: 'a' });
    using netns = Netns.open(pod.netns);
    const place = { name: 'sluice_lo', priority: 100, handle: 1 };
    attachTc(netns, 'lo', { ...place, programFd: mesh.datapath.loopbackFilterFd });
    mesh.datapath.close();
    expect(tcFilters(netns, 'lo')).toHaveLength(1);
    detachTc(netns, 'lo', place);
    expect(tcFilters(netns, 'lo')).toEqual([]);
  });
});
