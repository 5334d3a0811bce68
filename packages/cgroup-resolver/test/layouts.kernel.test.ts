// The same pod seen in different ways: a unified layout, a host's tree mounted beside our own, a bind mount of a subtree, and a
// cgroup namespace of our own. Each view is a child process in its own namespaces; the machine's are left alone.
import { execFileSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { netnsCookie } from '@sluice/linux';
import { requires } from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { podNames, TestNode } from './fixtures/node.js';

const need = requires('root', 'cgroup2', 'netns');
const inode = (path: string): bigint => statSync(path, { bigint: true }).ino;

interface View {
  hierarchy: { mountPoint: string; mountRoot: string; nsRoot: string; level: number; levelKnown: boolean };
  pod: { cgroupPath: string; cgroupId: string; level: number; containers: { cgroupId: string; level: number }[] };
  process: { kind: string; cgroupPath: string; cgroupId: string; netnsState?: string };
  neighbour: { kind: string; cgroupPath: string; cgroupId: string };
  netns: { cookie: string };
}

describe.skipIf(need.skip)(`views of the hierarchy${need.label}`, () => {
  const { uid, id } = podNames();
  let node: TestNode;
  let container: string;
  let netns: string;
  let pod: { pid: number };
  let neighbour: { pid: number };

  beforeAll(async () => {
    node = new TestNode();
    container = node.cgroup(`/kubepods/burstable/pod${uid}/${id}`);
    node.cgroup('/agent/inner');
    netns = node.netns('pod', ['10.66.1.7/32']);
    pod = await node.process(container, netns);
    neighbour = await node.hostProcess(node.cgroup('/agent/neighbour'));
  });
  afterAll(() => node.remove());

  // A child shell prepares the view ($ROOT is this node's cgroup), then becomes the program that reports it.
  function view(unshare: readonly string[], preparation: string, cgroupRoot: string, home = '/agent/inner'): View {
    const program = `
      import { CgroupResolver } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)};
      const cgroupRoot = process.argv[1];
      const resolver = new CgroupResolver({ hostNetns: '/proc/self/ns/net', ...(cgroupRoot && { cgroupRoot }) });
      const pod = resolver.pod(${JSON.stringify(uid)});
      const report = {
        hierarchy: resolver.hierarchy,
        pod,
        netns: pod && resolver.podNetns(pod),
        process: resolver.resolveProcess(${pod.pid}),
        neighbour: resolver.resolveProcess(${neighbour.pid}),
      };
      process.stdout.write(JSON.stringify(report, (_, value) => (typeof value === 'bigint' ? String(value) : value)));`;
    const script = `set -e; ${preparation}; exec "$NODE" --input-type=module -e "$PROGRAM" "$1"`;
    const env = { ...process.env, NODE: process.execPath, PROGRAM: program, ROOT: node.root, HOME_CGROUP: home };
    const inner = ['unshare', ...unshare, 'sh', '-c', script, 'sh', cgroupRoot];
    // The child enters the agent's cgroup before its namespaces are made: a cgroup namespace's root is where the process is.
    const enter = `echo $$ > "$ROOT$HOME_CGROUP/cgroup.procs"; exec "$@"`;
    return JSON.parse(execFileSync('sh', ['-c', enter, 'sh', ...inner], { encoding: 'utf8', env })) as View;
  }

  function expectThePod(seen: View): void {
    expect(seen.pod).toMatchObject({
      cgroupId: String(inode(container.slice(0, container.lastIndexOf('/')))),
      level: 4,
      containers: [{ cgroupId: String(inode(container)), level: 5 }],
    });
    expect(seen.process).toMatchObject({ kind: 'pod', cgroupId: String(inode(container)), netnsState: 'pod' });
    expect(seen.netns.cookie).toBe(String(netnsCookie(netns)));
  }

  const privateMounts = 'mount --make-rprivate /';
  const onlyUnified = `${privateMounts}; umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup`;

  it('reads a unified layout', () => {
    const seen = view(['--mount'], onlyUnified, '');
    expectThePod(seen);
    expect(seen.hierarchy).toEqual({
      mountPoint: '/sys/fs/cgroup',
      mountRoot: '/',
      nsRoot: '/',
      level: 0,
      levelKnown: true,
    });
    expect(seen.process.cgroupPath).toBe(`/sys/fs/cgroup/${node.name}/kubepods/burstable/pod${uid}/${id}`);
    expect(seen.neighbour).toMatchObject({ kind: 'host', cgroupPath: `/sys/fs/cgroup/${node.name}/agent/neighbour` });
  });

  it('reads a tree mounted elsewhere, as for an agent in a container', () => {
    const elsewhere = `${privateMounts}; mount -t tmpfs none /mnt; mkdir /mnt/cgroup; mount -t cgroup2 none /mnt/cgroup;
      umount -R /sys/fs/cgroup`;
    const seen = view(['--mount'], elsewhere, '/mnt/cgroup');
    expectThePod(seen);
    expect(seen.hierarchy.mountPoint).toBe('/mnt/cgroup');
  });

  it('reads a bind mount of a subtree, and knows how deep it is', () => {
    const subtree = `${privateMounts}; mount -t tmpfs none /mnt; mkdir /mnt/pods;
      mount --bind "$ROOT/kubepods" /mnt/pods; umount -R /sys/fs/cgroup`;
    const seen = view(['--mount'], subtree, '');
    expectThePod(seen);
    expect(seen.hierarchy).toEqual({
      mountPoint: '/mnt/pods',
      mountRoot: `/${node.name}/kubepods`,
      nsRoot: '/../..',
      level: 2,
      levelKnown: true,
    });
    // It is outside what the mount shows: the result has the kernel's own path, and no id.
    expect(seen.neighbour).toEqual({ kind: 'host', cgroupPath: `/${node.name}/agent/neighbour`, cgroupId: '0' });
  });

  it('reads the host’s tree from a cgroup namespace', () => {
    const seen = view(['--cgroup'], 'true', '');
    expectThePod(seen);
    expect(seen.hierarchy).toMatchObject({
      mountRoot: '/../../..',
      nsRoot: `/${node.name}/agent/inner`,
      level: 0,
      levelKnown: true,
    });
    // A sibling of our namespace's root: no path that we can read contains the names of its parents.
    expect(seen.neighbour).toMatchObject({ kind: 'host', cgroupPath: `${node.root}/agent/neighbour` });
    expect(seen.neighbour.cgroupId).toBe(String(inode(`${node.root}/agent/neighbour`)));
  });

  it('prefers the host’s tree to its own part of it, in a cgroup namespace with both mounted', () => {
    const both = `${privateMounts}; mount -t tmpfs none /mnt; mkdir /mnt/host; mount --bind "$(dirname "$ROOT")" /mnt/host;
      umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup`;
    const seen = view(['--mount', '--cgroup'], both, '');
    expectThePod(seen);
    expect(seen.hierarchy.mountPoint).toBe('/mnt/host');
  });

  it('counts levels from the hierarchy’s root where it sees only its namespace’s, as on a node that is a container', () => {
    const seen = view(['--mount', '--cgroup'], onlyUnified, '', '');
    expectThePod(seen);
    expect(seen.hierarchy).toEqual({
      mountPoint: '/sys/fs/cgroup',
      mountRoot: '/',
      nsRoot: '/',
      level: 1,
      levelKnown: true,
    });
    expect(seen.pod.cgroupPath).toBe(`/sys/fs/cgroup/kubepods/burstable/pod${uid}`);
    expect(seen.neighbour.cgroupPath).toBe('/sys/fs/cgroup/agent/neighbour');
  });

  it('admits that it cannot count them without the host’s pid namespace', () => {
    const seen = view(['--mount', '--cgroup', '--pid', '--fork', '--mount-proc'], onlyUnified, '', '');
    expect(seen.hierarchy).toMatchObject({ level: 1, levelKnown: false });
    expect(seen.pod.cgroupId).toBe(String(inode(container.slice(0, container.lastIndexOf('/')))));
    // Every process of the pod is outside the pid namespace, so there is none to look at.
    expect(seen).not.toHaveProperty('netns');
    expect(seen.process).toEqual({ kind: 'gone' });
  });
});
