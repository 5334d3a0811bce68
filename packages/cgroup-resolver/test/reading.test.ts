// The parsers of mountinfo and /proc/<pid>/cgroup, and the arithmetic of relative cgroup paths.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  canonicalAddress,
  cgroup2Mounts,
  directoryOf,
  parseMembership,
  parseMountinfo,
  type CgroupHierarchy,
} from '../src/index.js';

const mountPoints = (mountinfo: string): string[] =>
  cgroup2Mounts(parseMountinfo(mountinfo)).map(({ mountPoint }) => mountPoint);

describe('parseMountinfo', () => {
  it('finds cgroup2 on a unified machine', () => {
    const text = `22 1 0:20 / /proc rw,nosuid - proc proc rw
29 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
`;
    expect(mountPoints(text)).toEqual(['/sys/fs/cgroup']);
  });

  it('finds it beside the v1 controllers of a hybrid machine', () => {
    const text = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 master:2 - cgroup2 cgroup2 rw
`;
    expect(mountPoints(text)).toEqual(['/sys/fs/cgroup/unified']);
  });

  it('prefers the host’s whole tree to a container’s own part of it', () => {
    const text = `41 31 0:38 / /sys/fs/cgroup ro - cgroup2 cgroup rw
42 31 0:38 /../../../.. /host/sys/fs/cgroup ro,relatime - cgroup2 cgroup2 rw
43 31 0:38 /../../../../kubepods /kubepods ro,relatime - cgroup2 cgroup2 rw
44 31 0:38 /sub /sub ro,relatime - cgroup2 cgroup2 rw
`;
    expect(mountPoints(text)).toEqual(['/host/sys/fs/cgroup', '/kubepods', '/sys/fs/cgroup', '/sub']);
  });

  it('leaves out a mount that another one hides', () => {
    const text = `41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
42 31 0:40 / /sys/fs/cgroup rw - tmpfs tmpfs rw
43 31 0:38 / /a rw - cgroup2 cgroup2 rw
44 31 0:38 /kubepods /a rw - cgroup2 cgroup2 rw
`;
    expect(cgroup2Mounts(parseMountinfo(text))).toEqual([{ root: '/kubepods', mountPoint: '/a', fsType: 'cgroup2' }]);
  });

  it('reads octal escapes, and takes only a lone hyphen as the end of the options', () => {
    const text = String.raw`41 31 0:38 /a\040b\134c /mnt/tab\011x\012y\043 rw - - cgroup2 none rw
`.replace('rw - - ', 'rw shared:1 - ');
    expect(parseMountinfo(text)).toEqual([{ root: '/a b\\c', mountPoint: '/mnt/tab\tx\ny#', fsType: 'cgroup2' }]);
  });

  it('never throws', () => {
    fc.assert(fc.property(fc.string(), (text) => void cgroup2Mounts(parseMountinfo(text))));
    expect(parseMountinfo('1 2 0:1 / /x rw\n\nnonsense\n')).toEqual([]);
  });
});

describe('parseMembership', () => {
  it('takes the 0:: line, alone or among v1 lines', () => {
    expect(parseMembership('0::/kubepods/a\n')).toEqual({ path: '/kubepods/a', removed: false });
    expect(parseMembership('9:name=systemd:/x\n4:memory:/y\n0::/\n')).toEqual({ path: '/', removed: false });
    expect(parseMembership('0::/../../b:c\n')).toEqual({ path: '/../../b:c', removed: false });
  });

  it('recognises a removed cgroup', () => {
    expect(parseMembership('0::/kubepods/a (deleted)\n')).toEqual({ path: '/kubepods/a', removed: true });
  });

  it('finds nothing on a v1-only kernel, or in an empty file', () => {
    expect(parseMembership('4:memory:/y\n10::/x\n')).toBeUndefined();
    expect(parseMembership('')).toBeUndefined();
  });
});

describe('directoryOf', () => {
  const hierarchy = (mountRoot: string, nsRoot: string): CgroupHierarchy => ({
    mountPoint: '/cg',
    mountRoot,
    nsRoot,
    level: 0,
    levelKnown: true,
  });

  it.each([
    ['the whole tree, our own namespace', '/', '/', '/kubepods/a', '/cg/kubepods/a'],
    ['the root itself', '/', '/', '/', '/cg'],
    ['a bind mount of a subtree', '/kubepods', '/..', '/kubepods/a', '/cg/a'],
    ['the bind-mounted directory itself', '/kubepods', '/..', '/kubepods', '/cg'],
    ['a process outside the bind mount', '/kubepods', '/..', '/system', undefined],
    ['a name that only begins alike', '/kubepods', '/..', '/kubepods2/a', undefined],
    ['above our namespace, outside our mount', '/', '/', '/../a', undefined],
    [
      'the host’s tree, from a namespace two levels down: elsewhere',
      '/../..',
      '/x/y',
      '/../../kubepods/a',
      '/cg/kubepods/a',
    ],
    ['… a sibling', '/../..', '/x/y', '/../z', '/cg/x/z'],
    ['… ourselves and below', '/../..', '/x/y', '/', '/cg/x/y'],
    ['… below', '/../..', '/x/y', '/sub', '/cg/x/y/sub'],
    ['… the root', '/../..', '/x/y', '/../..', '/cg'],
    ['… our place unknown, but not needed', '/../..', '', '/../../kubepods', '/cg/kubepods'],
    ['… our place unknown, and needed', '/../..', '', '/../z', undefined],
    ['a cousin bind-mounted', '/../../kubepods', '', '/../../kubepods/a', '/cg/a'],
    ['beside the cousin', '/../../kubepods', '', '/../kubepods/a', undefined],
  ])('%s', (_, mountRoot, nsRoot, path, expected) => {
    expect(directoryOf(hierarchy(mountRoot, nsRoot), path)).toBe(expected);
  });

  it('agrees with plain path arithmetic, whatever is mounted and wherever the process is', () => {
    const names = fc.array(fc.constantFrom('a', 'b'), { maxLength: 4 });
    // The kernel goes up to the last common directory, then down (kernfs_path_from_node).
    const relative = (from: readonly string[], to: readonly string[]): string => {
      let common = 0;
      while (common < from.length && common < to.length && from[common] === to[common]) common++;
      return `/${[...from.slice(common).map(() => '..'), ...to.slice(common)].join('/')}`;
    };
    const startsWith = (path: readonly string[], prefix: readonly string[]): boolean =>
      prefix.every((name, index) => path[index] === name);
    fc.assert(
      fc.property(names, names, names, (ours, mounted, cgroup) => {
        const nsRoot = startsWith(ours, mounted) ? `/${ours.slice(mounted.length).join('/')}` : '';
        const found = directoryOf(hierarchy(relative(ours, mounted), nsRoot), relative(ours, cgroup));
        const inside = startsWith(cgroup, mounted);
        expect(found).toBe(inside ? ['/cg', ...cgroup.slice(mounted.length)].join('/') : undefined);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('canonicalAddress', () => {
  it.each([
    ['10.0.0.7', '10.0.0.7'],
    ['FD66:0:0:0:0:0:0:7', 'fd66::7'],
    ['::ffff:10.0.0.7', '10.0.0.7'],
    ['::ffff:a00:7', '10.0.0.7'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['nonsense', undefined],
    ['', undefined],
  ])('%s', (text, expected) => {
    expect(canonicalAddress(text)).toBe(expected);
  });
});
