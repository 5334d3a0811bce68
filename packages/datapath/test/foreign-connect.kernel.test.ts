// Programs of others at connect() are found wherever above the pods they are attached, and told apart from this datapath's.
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { requires, TestNode } from '@sluice/testbed';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Datapath, foreignConnectPrograms } from '../src/index.js';
import { ForeignPrograms } from './foreign-programs.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');
// As the kernel cuts them.
const NAMES = ['foreign_connect', 'foreign_connect'];

describe.skipIf(need.skip)(`programs of others at connect()${need.label}`, () => {
  let node: TestNode;
  let bpffs: string;
  let datapath: Datapath;
  let pods: string;
  const foreign = (cgroups = [pods]): ReturnType<typeof foreignConnectPrograms> =>
    foreignConnectPrograms(`${bpffs}/sluice`, cgroups);

  beforeEach(async () => {
    node = await TestNode.create({ remotePorts: [], remoteDns: false });
    bpffs = await node.bpffs();
    datapath = Datapath.open({ pinDirectory: `${bpffs}/sluice`, cgroup: node.cgroup.path });
    datapath.activate();
    pods = node.cgroup.child('kubepods').child('besteffort').path;
  });
  afterEach(async () => {
    datapath?.close();
    await node?.close();
  });

  it('are none while only this datapath is attached, before and after it takes over its links', () => {
    expect(foreign()).toEqual([]);
    datapath.close();
    datapath = Datapath.open({ pinDirectory: `${bpffs}/sluice`, cgroup: node.cgroup.path });
    expect(foreign()).toEqual([]);
    datapath.activate();
    expect(foreign()).toEqual([]);
  });

  it('are found beside Sluice and between it and the pods, and are gone when they are detached', () => {
    for (const place of [node.cgroup.path, node.cgroup.child('kubepods').path, pods]) {
      const others = new ForeignPrograms();
      others.attachCgroup(place);
      expect(foreign()).toEqual([
        { id: expect.any(Number), name: NAMES[0], hook: 'connect4', cgroup: place },
        { id: expect.any(Number), name: NAMES[1], hook: 'connect6', cgroup: place },
      ]);
      // Each once, though several cgroups are below it.
      expect(foreign([pods, node.cgroup.child('kubepods').child('burstable').path, pods]).length).toBe(2);
      others.close();
      expect(foreign()).toEqual([]);
    }
  });

  it('do not count where they run for no pod’s parent', () => {
    const others = new ForeignPrograms();
    others.attachCgroup(node.cgroup.child('system').path);
    others.attachCgroup(node.cgroup.child('kubepods').child('besteffort').child('pod1').path);
    expect(foreign()).toEqual([]);
    others.close();
  });

  it('are those of another Sluice, too, which have the same names', () => {
    using other = Datapath.open({ pinDirectory: `${bpffs}/other`, cgroup: node.cgroup.path });
    other.activate();
    expect(foreign().map(({ name, cgroup }) => [name, cgroup])).toEqual([
      ['sluice_connect4', node.cgroup.path],
      ['sluice_connect6', node.cgroup.path],
    ]);
  });

  it('above what is mounted are found, but not where they are', () => {
    const others = new ForeignPrograms();
    others.attachCgroup(node.cgroup.path);
    const mount = join(node.directory, 'kubepods');
    mkdirSync(mount);
    execFileSync('mount', ['--bind', node.cgroup.child('kubepods').path, mount]);
    try {
      expect(foreign([join(mount, 'besteffort')]).map(({ cgroup }) => cgroup)).toEqual([undefined, undefined]);
    } finally {
      execFileSync('umount', [mount]);
      others.close();
    }
  });

  it('are looked for in the cgroups that there are', () => {
    expect(foreign([`${pods}/gone`, '/proc'])).toEqual([]);
    expect(foreign([])).toEqual([]);
  });
});
