// The walk over a tree of plain directories, named as on a real node, and the errors that need no kernel.
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CgroupError, CgroupResolver, findCgroup2, walkPods } from '../src/index.js';
import { lookAlikes, pods } from './fixtures/naming.js';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'sluice-cgroup-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const make = (path: string): void => void mkdirSync(join(directory, path), { recursive: true });
const inode = (path: string): bigint => statSync(path, { bigint: true }).ino;

describe('walkPods', () => {
  it.each(pods.filter(({ path }) => !path.includes('..')))(
    'finds the pod of $scheme',
    ({ path, podPath, expected }) => {
      make(path);
      const [pod, ...others] = [...walkPods(directory, 3)];
      expect(others).toEqual([]);
      const cgroupPath = directory + podPath;
      const depth = podPath.split('/').length - 1;
      expect(pod).toMatchObject({
        podUid: expected.podUid,
        qosClass: expected.qosClass,
        cgroupPath,
        cgroupId: inode(cgroupPath),
        level: 3 + depth,
      });
      expect(pod?.containers.map(({ id, runtime, level }) => ({ id, runtime, level }))).toEqual(
        expected.containerId === undefined
          ? []
          : [{ id: expected.containerId, runtime: expected.runtime, level: 3 + depth + 1 }],
      );
    },
  );

  it('finds no pod among the look-alikes', () => {
    for (const [, path] of lookAlikes) if (path.startsWith('/')) make(path);
    expect([...walkPods(directory, 0)]).toEqual([]);
  });

  it('lists every cgroup of a pod once, containers apart from the rest', () => {
    const uid = '5cd8a7c4-2b6e-4e0b-9c1d-0f6f1a2b3c4d';
    const id = '1'.repeat(64);
    const pod = `/kubepods.slice/kubepods-pod${uid.replaceAll('-', '_')}.slice`;
    for (const below of [`crio-${id}.scope/container/a`, `crio-conmon-${id}.scope`]) make(`${pod}/${below}`);
    const [found] = [...walkPods(directory, 0)];
    expect(found?.containers.map(({ cgroupPath }) => cgroupPath)).toEqual([`${directory}${pod}/crio-${id}.scope`]);
    expect(found?.otherCgroups.map(({ cgroupPath }) => cgroupPath).sort()).toEqual([
      `${directory}${pod}/crio-${id}.scope/container`,
      `${directory}${pod}/crio-${id}.scope/container/a`,
      `${directory}${pod}/crio-conmon-${id}.scope`,
    ]);
    for (const { cgroupPath, cgroupId } of found?.otherCgroups ?? []) expect(cgroupId).toBe(inode(cgroupPath));
  });

  it('yields the outer of two trees that claim one pod first', () => {
    const pod = 'kubepods/pod5cd8a7c4-2b6e-4e0b-9c1d-0f6f1a2b3c4d';
    make(`a/b/${pod}`);
    make(`z/${pod}`);
    const found = [...walkPods(directory, 0)].map(({ cgroupPath }) => cgroupPath);
    expect(found).toEqual([`${directory}/z/${pod}`, `${directory}/a/b/${pod}`]);
  });

  it('goes on when the tree changes meanwhile', () => {
    const uids = ['a', 'b', 'c'].map((letter) => `${letter.repeat(8)}-1111-2222-3333-444444444444`);
    for (const uid of uids) make(`kubepods/besteffort/pod${uid}/${'2'.repeat(64)}`);
    const found: string[] = [];
    for (const pod of walkPods(directory, 0)) {
      found.push(pod.podUid);
      // The walk has listed its siblings by now.
      for (const uid of uids.filter((other) => other !== pod.podUid)) {
        rmSync(join(directory, `kubepods/besteffort/pod${uid}`), { recursive: true, force: true });
      }
    }
    expect(found).toHaveLength(1);
  });

  it('knows nothing of a directory that does not exist', () => {
    expect([...walkPods(join(directory, 'absent'), 0)]).toEqual([]);
  });
});

function errorOf(body: () => unknown): CgroupError {
  try {
    body();
  } catch (error) {
    expect(error).toBeInstanceOf(CgroupError);
    return error as CgroupError;
  }
  throw new Error('it did not fail');
}

describe('errors', () => {
  const mountinfo = (text: string): void => {
    make('self');
    writeFileSync(join(directory, 'self/mountinfo'), text);
  };

  it('says how to get cgroup2 where only v1 is mounted', () => {
    mountinfo(`31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
33 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
`);
    const error = errorOf(() => new CgroupResolver({ procPath: directory }));
    expect(error).toMatchObject({ name: 'CgroupError', reason: 'cgroup2-absent', path: `${directory}/self/mountinfo` });
    expect(error.message).toBe(
      `${directory}/self/mountinfo shows no cgroup2 file system, only cgroup v1 controllers; ` +
        'boot with systemd.unified_cgroup_hierarchy=1, or `mount -t cgroup2 none /sys/fs/cgroup/unified`; ' +
        'in a container, mount the host’s cgroup tree and name it as the cgroup root',
    );
  });

  it('does not believe mountinfo where statfs says otherwise', () => {
    mountinfo(`41 31 0:38 / ${directory} rw - cgroup2 cgroup2 rw\n`);
    expect(errorOf(() => findCgroup2(directory)).reason).toBe('cgroup2-absent');
  });

  it('says that there is no proc where it was told to look', () => {
    expect(errorOf(() => findCgroup2(join(directory, 'absent')))).toMatchObject({ reason: 'proc-unusable' });
  });

  it('refuses a cgroup root that is not one, or does not exist', () => {
    const error = errorOf(() => new CgroupResolver({ cgroupRoot: directory }));
    expect(error).toMatchObject({ reason: 'not-cgroup2', path: directory });
    expect(error.message).toContain('/sys/fs/cgroup/unified on a hybrid one');
    expect(errorOf(() => new CgroupResolver({ cgroupRoot: join(directory, 'absent') }))).toMatchObject({
      reason: 'no-such-path',
    });
  });
});
