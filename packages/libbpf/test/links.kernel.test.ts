// Links on real cgroups and network namespaces, observed by what happens to a real connect().
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { Netns } from '@sluice/linux';
import { requires } from '@sluice/testbed';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  attachCgroupExclusively,
  ATTACH_ALLOW_MULTI,
  BpfLink,
  BpfMap,
  BpfProgram,
  detachCgroup,
  explainAttachFailure,
  findExclusiveProgram,
  linkInfo,
  openObject,
  queryCgroup,
} from '../src/index.js';
import type { BpfObject } from '../src/index.js';
import { objectPath } from './support/objects.js';
import { makeCgroup, messageOf, mountBpffs, runIn } from './support/places.js';
import type { Cgroup } from './support/places.js';

const need = requires('root', 'bpf', 'cgroup2');

/** Port 9 (discard) of loopback: the peer refuses if the connect is let through, and our program if it is not. */
const CONNECT = `${process.execPath} -e "require('net').connect(9, '127.0.0.1').on('error', e => console.log(e.code))"`;

describe.skipIf(need.skip)(`links${need.label}`, () => {
  let cgroup: Cgroup;
  let object: BpfObject;
  let bpffs: ReturnType<typeof mountBpffs>;

  beforeEach(() => {
    cgroup = makeCgroup();
    bpffs = mountBpffs();
    object = openObject(objectPath('hooks'));
    object.load();
  });
  afterEach(() => {
    object.close();
    bpffs.remove();
    cgroup.remove();
  });

  it('attach to a cgroup, beside others, and end when they are closed', () => {
    const allow = object.program('allow_connect4');
    const refuse = object.program('refuse_connect4');
    const first = allow.attachCgroup(cgroup.path);
    const second = refuse.attachCgroup(cgroup.path);
    expect(first.info()).toEqual({
      id: first.info().id,
      programId: allow.id,
      type: 'cgroup',
      cgroupId: cgroup.id,
      attachType: 'cgroup_inet4_connect',
    });
    expect(linkInfo(first.info().id)).toEqual(first.info());
    const { attachFlags, programs } = queryCgroup(cgroup.path, 'connect4');
    expect(attachFlags).toBe(ATTACH_ALLOW_MULTI);
    expect(programs.map(({ id, name, tag, loadedByUid }) => ({ id, name, tag, loadedByUid }))).toEqual([
      { id: allow.id, name: 'allow_connect4', tag: allow.info().tag, loadedByUid: 0 },
      { id: refuse.id, name: 'refuse_connect4', tag: refuse.info().tag, loadedByUid: 0 },
    ]);
    second.close();
    first.close();
    first.close();
    expect(queryCgroup(cgroup.path, 'connect4').programs).toEqual([]);
  });

  it('let a program decide over a real connect(), and update replaces the program', () => {
    using link = object.program('refuse_connect4').attachCgroup(cgroup.path);
    expect(runIn(cgroup, CONNECT).output.trim()).toBe('EPERM');
    link.update(object.program('allow_connect4'));
    expect(link.info().programId).toBe(object.program('allow_connect4').id);
    expect(runIn(cgroup, CONNECT).output.trim()).toBe('ECONNREFUSED');
    expect(messageOf(() => link.update(object.program('pass_lookup')))).toContain('it is of another type');
  });

  it('are inherited by cgroups below, which an effective query shows', () => {
    const child = makeCgroup(cgroup.path, 'child');
    try {
      using _link = object.program('allow_connect4').attachCgroup(cgroup.path);
      expect(queryCgroup(child.path, 'connect4').programs).toEqual([]);
      expect(queryCgroup(child.path, 'connect4', true).programs.map((program) => program.id)).toEqual([
        object.program('allow_connect4').id,
      ]);
    } finally {
      child.remove();
    }
  });

  it('outlive their object when pinned, and are adopted by their pin', () => {
    const pin = join(bpffs.path, 'link');
    const link = object.program('refuse_connect4').attachCgroup(cgroup.path);
    link.pin(pin);
    const { id } = link.info();
    link.close();
    expect(runIn(cgroup, CONNECT).output.trim()).toBe('EPERM');
    const adopted = BpfLink.openPinned(pin);
    expect(adopted.info().id).toBe(id);
    adopted.update(object.program('allow_connect4'));
    adopted.unpin();
    adopted.unpin();
    expect(runIn(cgroup, CONNECT).output.trim()).toBe('ECONNREFUSED');
    adopted.close();
    expect(queryCgroup(cgroup.path, 'connect4').programs).toEqual([]);
  });

  it('detach at once, and are found by id', () => {
    const link = object.program('refuse_connect4').attachCgroup(cgroup.path);
    using same = BpfLink.openId(link.info().id);
    same.detach();
    expect(queryCgroup(cgroup.path, 'connect4').programs).toEqual([]);
    expect(messageOf(() => link.update(object.program('allow_connect4')))).toContain('is gone (ENOLINK)');
    link.close();
  });

  it('are told apart from pinned maps and programs', () => {
    const pin = join(bpffs.path, 'program');
    object.program('allow_connect4').pin(pin);
    expect(messageOf(() => BpfLink.openPinned(pin))).toBe(
      `cannot open the pinned link ${pin}: what is pinned there is a program`,
    );
    expect(messageOf(() => BpfMap.openPinned(pin))).toContain('what is pinned there is a program');
  });

  it('are 64 to a cgroup at most', () => {
    const links = Array.from({ length: 64 }, () => object.program('allow_connect4').attachCgroup(cgroup.path));
    expect(queryCgroup(cgroup.path, 'connect4').programs.length).toBe(64);
    expect(messageOf(() => object.program('allow_connect4').attachCgroup(cgroup.path))).toContain(
      "the cgroup has 64 programs of type cgroup_inet4_connect already, which is the kernel's limit (E2BIG). Detach some",
    );
    for (const link of links) link.close();
  });

  it('of a cgroup below show more than 64 in an effective query', () => {
    const child = makeCgroup(cgroup.path, 'child');
    const program = object.program('allow_connect4');
    const links = [cgroup, child].flatMap(({ path }) => Array.from({ length: 40 }, () => program.attachCgroup(path)));
    try {
      expect(queryCgroup(child.path, 'connect4', true).programs.length).toBe(80);
    } finally {
      for (const link of links) link.close();
      child.remove();
    }
  });

  it('of a pinned program: it can take another’s place', () => {
    const pin = join(bpffs.path, 'program');
    object.program('allow_connect4').pin(pin);
    using link = object.program('refuse_connect4').attachCgroup(cgroup.path);
    using program = BpfProgram.openPinned(pin);
    link.update(program);
    expect(link.info().programId).toBe(object.program('allow_connect4').id);
    expect(messageOf(() => program.attachCgroup(cgroup.path))).toContain('its attach type is not known');
  });

  it('attach to a network namespace', () => {
    using netns = Netns.create();
    using link = object.program('pass_lookup').attachNetns(netns);
    expect(link.info()).toMatchObject({ type: 'netns', netnsInode: Number(netns.inode), attachType: 'sk_lookup' });
  });

  it('cannot be made on what is not a cgroup, not a namespace, or does not exist', () => {
    const program = object.program('allow_connect4');
    expect(messageOf(() => program.attachCgroup(join(cgroup.path, 'gone')))).toContain('does not exist (ENOENT)');
    expect(messageOf(() => program.attachCgroup('/proc'))).toContain('is not a directory of a cgroup2 file system');
    const nothing = { fd: openSync('/dev/null', 'r'), path: '/dev/null' };
    expect(messageOf(() => object.program('pass_lookup').attachNetns(nothing))).toContain(
      "attach program 'pass_lookup' to network namespace /dev/null: /dev/null is no network namespace",
    );
    closeSync(nothing.fd);
    expect(messageOf(() => queryCgroup('/proc', 'connect4'))).toContain('is not a directory of a cgroup2 file system');
  });

  it('cannot be pinned outside a bpffs, under a taken name, or a name with a dot', () => {
    using link = object.program('allow_connect4').attachCgroup(cgroup.path);
    expect(messageOf(() => link.pin('/tmp/sluice-link'))).toContain(
      '/tmp is not in a BPF file system (EPERM). Mount one: mount -t bpf bpf /sys/fs/bpf',
    );
    expect(messageOf(() => link.pin(join(bpffs.path, 'a.b')))).toContain("a pin's name must not hold a dot");
    expect(messageOf(() => link.pin(join(bpffs.path, 'none', 'x')))).toContain(
      'does not exist (ENOENT). Make it first',
    );
    link.pin(join(bpffs.path, 'taken'));
    expect(messageOf(() => link.pin(join(bpffs.path, 'taken')))).toContain(
      'something is pinned there already (EEXIST)',
    );
    expect(messageOf(() => BpfLink.openPinned(join(bpffs.path, 'other')))).toContain('there is no such pin (ENOENT)');
    link.unpin();
  });
});

describe.skipIf(need.skip)(`a foreign exclusive program${need.label}`, () => {
  let parent: Cgroup;
  let child: Cgroup;
  let object: BpfObject;

  beforeEach(() => {
    parent = makeCgroup();
    child = makeCgroup(parent.path, 'child');
    object = openObject(objectPath('hooks'));
    object.load();
  });
  afterEach(() => {
    object.close();
    child.remove();
    parent.remove();
  });

  it('on the cgroup itself is named, with its owner and the way out', () => {
    const foreign = object.program('refuse_connect4');
    attachCgroupExclusively(foreign, parent.path);
    const message = messageOf(() => object.program('allow_connect4').attachCgroup(parent.path));
    expect(message).toContain(`cannot attach program 'allow_connect4' to cgroup ${parent.path}`);
    expect(message).toContain('a foreign program is attached to this cgroup exclusively (without BPF_F_ALLOW_MULTI)');
    expect(message).toContain(
      `program 'refuse_connect4', id ${foreign.id}, tag ${foreign.info().tag}, loaded by uid 0`,
    );
    expect(message).toContain(`bpftool cgroup detach ${parent.path} cgroup_inet4_connect id ${foreign.id}`);
    // Another attach type is not concerned.
    object.program('allow_connect6').attachCgroup(parent.path).close();
    detachCgroup(foreign, parent.path);
    object.program('allow_connect4').attachCgroup(parent.path).close();
  });

  it('above is found and named by its place', () => {
    const foreign = object.program('refuse_connect4');
    attachCgroupExclusively(foreign, parent.path);
    const message = messageOf(() => object.program('allow_connect4').attachCgroup(child.path));
    expect(message).toContain(`attached to the cgroup above it, ${parent.path}, exclusively`);
    expect(findExclusiveProgram(child.path, 'connect4')).toMatchObject({ id: foreign.id, cgroupPath: parent.path });
    detachCgroup(foreign, parent.path);
  });

  it('that allows overriding is in the way on its own cgroup only', () => {
    const foreign = object.program('refuse_connect4');
    attachCgroupExclusively(foreign, parent.path, 1);
    object.program('allow_connect4').attachCgroup(child.path).close();
    expect(findExclusiveProgram(child.path, 'connect4')).toBeUndefined();
    expect(messageOf(() => object.program('allow_connect4').attachCgroup(parent.path))).toContain(
      'with BPF_F_ALLOW_OVERRIDE',
    );
    detachCgroup(foreign, parent.path);
  });

  it('above does not matter where one between allows several', () => {
    const foreign = object.program('refuse_connect4');
    using _between = object.program('allow_connect4').attachCgroup(child.path);
    attachCgroupExclusively(foreign, parent.path);
    const grandchild = makeCgroup(child.path, 'grandchild');
    try {
      object.program('allow_connect4').attachCgroup(grandchild.path).close();
      expect(findExclusiveProgram(grandchild.path, 'connect4')).toBeUndefined();
      // On the one between it does: the kernel looks only upwards from there.
      expect(messageOf(() => object.program('refuse_connect4').attachCgroup(child.path))).toContain(parent.path);
    } finally {
      grandchild.remove();
      detachCgroup(foreign, parent.path);
    }
  });

  it('is not suspected when there is none', () => {
    expect(explainAttachFailure(child.path, 'connect4', { code: 'EPERM' })).toBeUndefined();
    expect(explainAttachFailure(child.path, 'connect4', { code: 'EINVAL' })).toBeUndefined();
    expect(explainAttachFailure(child.path, 'connect4', { code: 'E2BIG' })).toContain('64 programs');
  });
});
