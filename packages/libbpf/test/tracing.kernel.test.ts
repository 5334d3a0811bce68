// Programs that follow the kernel: attached where they belong, kept by their pins, ended by closing.
import { closeSync, openSync, readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { Netns } from '@sluice/linux';
import { requires } from '@sluice/testbed';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BpfLink, linkIds, openObject, type BpfObject } from '../src/index.js';
import { objectPath } from './support/objects.js';
import { makeCgroup, messageOf, mountBpffs } from './support/places.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');
const [OPENAT, CGROUP] = [0, 1];
/** include/net/tcp_states.h */
const LISTEN = 10;

describe.skipIf(need.skip)(`programs that follow the kernel${need.label}`, () => {
  let object: BpfObject;
  let bpffs: ReturnType<typeof mountBpffs>;

  beforeEach(() => {
    bpffs = mountBpffs();
    object = openObject(objectPath('tracing'));
    object.load();
  });
  afterEach(() => {
    object.close();
    bpffs.remove();
  });

  const runs = (index: number): bigint => {
    const key = Buffer.alloc(4);
    key.writeUInt32LE(index);
    return object.map('runs').lookup(key)?.readBigUInt64LE() ?? -1n;
  };
  const openFile = (): unknown => readFileSync('/proc/self/stat');
  const openCgroup = (): void => makeCgroup().remove();

  it.each([
    [
      'a tracepoint',
      OPENAT,
      openFile,
      'perf_event',
      () => object.program('see_openat').attachTracepoint('syscalls/sys_enter_openat'),
    ],
    [
      'a tracepoint by its type',
      CGROUP,
      openCgroup,
      'raw_tracepoint',
      () => object.program('see_cgroup').attachTracing(),
    ],
  ] as const)(
    'run at %s, outlive their process by a pin, and end when it is closed',
    (_name, index, make, type, attach) => {
      const pin = join(bpffs.path, 'link');
      const link = attach();
      link.pin(pin);
      const { id } = link.info();
      expect(link.info().type).toBe(type);
      link.close();
      const before = runs(index);
      make();
      expect(runs(index)).toBeGreaterThan(before);
      using adopted = BpfLink.openPinned(pin);
      expect(adopted.info()).toMatchObject({ id, type });
      adopted.unpin();
      adopted.close();
      expect(linkIds()).not.toContain(id);
      const after = runs(index);
      make();
      expect(runs(index)).toBe(after);
    },
  );

  it('do not need a tracefs that is mounted, and leave none', () => {
    const mounts = (): string => readFileSync('/proc/self/mounts', 'utf8');
    const before = mounts();
    using _link = object.program('see_openat').attachTracepoint('syscalls/sys_enter_openat');
    expect(mounts()).toBe(before);
  });

  it('say what is wrong', () => {
    expect(messageOf(() => object.program('see_openat').attachTracepoint('syscalls/sys_enter_nothing'))).toBe(
      "cannot attach program 'see_openat' to tracepoint syscalls/sys_enter_nothing: this kernel has no such tracepoint (ENOENT)",
    );
    expect(messageOf(() => object.program('see_cgroup').attachTracepoint('syscalls/sys_enter_openat'))).toBe(
      "cannot attach program 'see_cgroup' to tracepoint syscalls/sys_enter_openat: bpf(BPF_LINK_CREATE): Invalid argument (EINVAL)",
    );
    expect(messageOf(() => object.program('see_openat').attachTracing())).toBe(
      "cannot attach program 'see_openat' to what its section names: bpf(BPF_RAW_TRACEPOINT_OPEN): Invalid argument (EINVAL)",
    );
  });

  it('go through the sockets of one network namespace', async () => {
    using empty = Netns.create();
    using own = Netns.open('/proc/self/ns/net');
    const pin = join(bpffs.path, 'iterator');
    const made = object.program('list_states').attachIterator();
    made.pin(pin);
    made.close();
    using link = BpfLink.openPinned(pin);
    expect(link.info().type).toBe('iter');
    expect([...link.iterate(empty)]).toEqual([]);
    const server = await new Promise<Server>((resolve) => {
      const listening = createServer().listen(0, '127.0.0.1', () => resolve(listening));
    });
    expect([...link.iterate(own)]).toContain(LISTEN);
    server.close();
    const nothing = { fd: openSync('/dev/null', 'r'), path: '/dev/null' };
    expect(messageOf(() => link.iterate(nothing))).toContain('in /dev/null: setns: Invalid argument (EINVAL)');
    closeSync(nothing.fd);
  });
});
