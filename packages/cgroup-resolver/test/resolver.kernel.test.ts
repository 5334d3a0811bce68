// The resolver against real cgroups, network namespaces and processes, in the layout that this machine has.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Netns, netnsCookie } from '@sluice/linux';
import { requires } from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CgroupResolver, findCgroup2, type LendNetns, type PodCgroup } from '../src/index.js';
import { commOf, podNames, TestNode, until } from './fixtures/node.js';

const need = requires('root', 'cgroup2', 'netns');
const inode = (path: string): bigint => statSync(path, { bigint: true }).ino;
// The tests' processes start in the test's own namespace, which is their node's.
const hostNetns = '/proc/self/ns/net';

describe.skipIf(need.skip)(`CgroupResolver${need.label}`, () => {
  let node: TestNode;
  /** Expects every process in the host's namespace to move, however long that takes. */
  let resolver: CgroupResolver;
  /** Expects no process in the host's namespace to move, except one whose name says that it will. */
  let impatient: CgroupResolver;

  beforeAll(() => {
    node = new TestNode();
    resolver = new CgroupResolver({ cgroupRoot: node.root, hostNetns, settleMs: Infinity });
    impatient = new CgroupResolver({ cgroupRoot: node.root, hostNetns, settleMs: 0 });
  });
  afterAll(() => node.remove());

  function makePod(): { uid: string; id: string; pod: string; container: string; directory: string } {
    const { uid, id } = podNames();
    const pod = node.cgroup(`/kubepods/besteffort/pod${uid}`);
    return { uid, id, pod, container: node.cgroup(`/kubepods/besteffort/pod${uid}/${id}`), directory: pod };
  }

  function podOf(uid: string): PodCgroup {
    const pod = resolver.pod(uid);
    if (pod === undefined) throw new Error(`no pod ${uid}`);
    return pod;
  }

  it('gives the kernel’s ids and levels, under both drivers', () => {
    const { uid, id, pod, container } = makePod();
    const other = podNames();
    const slices = `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${other.uid.replaceAll('-', '_')}.slice`;
    const scope = node.cgroup(`${slices}/cri-containerd-${other.id}.scope`);
    const found = resolver.pods();
    expect(found.find(({ podUid }) => podUid === uid)).toEqual({
      podUid: uid,
      qosClass: 'besteffort',
      cgroupPath: pod,
      cgroupId: inode(pod),
      level: 4,
      containers: [{ id, runtime: 'unknown', cgroupPath: container, cgroupId: inode(container), level: 5 }],
      otherCgroups: [],
    });
    expect(found.find(({ podUid }) => podUid === other.uid)).toMatchObject({
      qosClass: 'burstable',
      level: 4,
      containers: [{ id: other.id, runtime: 'containerd', cgroupPath: scope, cgroupId: inode(scope), level: 5 }],
    });
    // The kernel's own count of the levels below the root, whose id is 1.
    expect(inode(findCgroup2().mountPoint)).toBe(1n);
    expect(resolver.hierarchy).toMatchObject({ level: 0, levelKnown: true });
  });

  it('gives the cgroup above the QoS classes, and never one above its root', () => {
    const parentOf = (path: string, uid: string): string => {
      node.cgroup(path);
      return resolver.podsParent(podOf(uid)).slice(node.root.length);
    };
    const [a, b, c] = [podNames().uid, podNames().uid, podNames().uid];
    expect(parentOf(`/kubepods/burstable/pod${a}`, a)).toBe('/kubepods');
    expect(parentOf(`/kubepods/pod${b}`, b)).toBe('/kubepods');
    const kind = '/kubelet.slice/kubelet-kubepods.slice';
    const name = `kubelet-kubepods-besteffort-pod${c.replaceAll('-', '_')}.slice`;
    expect(parentOf(`${kind}/kubelet-kubepods-besteffort.slice/${name}`, c)).toBe(kind);
    const inside = new CgroupResolver({ cgroupRoot: join(node.root, 'kubepods/burstable'), hostNetns });
    const pod = inside.pod(a);
    expect(pod && inside.podsParent(pod)).toBe(inside.cgroupRoot);
  });

  it('resolves a process to its pod, container and network namespace', async () => {
    const { uid, id, container, pod } = makePod();
    const netns = node.netns('plain', ['10.66.1.7/32', 'fd66:1::7/128']);
    const child = await node.process(container, netns);
    const netnsRef = {
      inode: inode(netns),
      cookie: netnsCookie(netns),
      pid: child.pid,
      path: `/proc/${child.pid}/ns/net`,
      addresses: ['10.66.1.7', 'fd66:1::7'],
      owner: 'host',
    };
    const expected = {
      kind: 'pod',
      podUid: uid,
      qosClass: 'besteffort',
      containerId: id,
      cgroupPath: container,
      cgroupId: inode(container),
      podCgroupPath: pod,
      netns: netnsRef,
    };
    expect(resolver.resolveProcess(child.pid)).toEqual({ ...expected, netnsState: 'unverified' });
    expect(resolver.podNetns(podOf(uid))).toEqual(netnsRef);
    expect(resolver.resolveProcess(child.pid)).toEqual({ ...expected, netnsState: 'pod' });
  });

  it('resolves a process below its container’s cgroup, and one in the pod’s own', async () => {
    const { uid, id, pod, container } = makePod();
    const nested = node.cgroup(`/kubepods/besteffort/pod${uid}/${id}/init.scope/deep`);
    const netns = node.netns('nested', ['10.66.2.7/32']);
    const deep = await node.process(nested, netns);
    const loose = await node.process(pod, netns);
    expect(resolver.resolveProcess(deep.pid)).toMatchObject({
      kind: 'pod',
      podUid: uid,
      containerId: id,
      cgroupPath: nested,
      cgroupId: inode(nested),
    });
    expect(resolver.resolveProcess(loose.pid)).not.toHaveProperty('containerId');
    expect(podOf(uid).otherCgroups.map(({ cgroupPath }) => cgroupPath)).toEqual([`${container}/init.scope`, nested]);
    expect(resolver.podNetns(podOf(uid))?.cookie).toBe(netnsCookie(netns));
  });

  it('takes the namespace of the oldest process for the pod’s own, and others for nested ones', async () => {
    const { uid, container } = makePod();
    const own = node.netns('own', ['10.66.3.7/32']);
    const other = node.netns('other', ['10.66.3.99/32']);
    await node.hostProcess(container);
    expect(resolver.podNetns(podOf(uid))).toBeUndefined();
    const pause = await node.process(container, own);
    const nested = await node.process(container, other);
    const both = { own: { pid: pause.pid, addresses: ['10.66.3.7'] }, nested: [{ pid: nested.pid }] };
    expect(resolver.podNamespaces(podOf(uid), { isThorough: true })).toMatchObject(both);
    expect(resolver.podNamespaces(podOf(uid))).toMatchObject({ own: both.own, nested: [] });
    expect(resolver.resolveProcess(pause.pid)).toMatchObject({ netnsState: 'pod' });
    expect(resolver.resolveProcess(nested.pid)).toMatchObject({ netnsState: 'unverified' });
  });

  it('keeps the pod’s own namespace while a younger process shows it, and then takes the next sandbox’s', async () => {
    const { uid, container } = makePod();
    const first = node.netns('sandbox-1', ['10.66.12.7/32']);
    const second = node.netns('sandbox-2', ['10.66.12.8/32']);
    const own = (): bigint | undefined => resolver.podNetns(podOf(uid))?.cookie;
    const pause = await node.process(container, first);
    expect(own()).toBe(netnsCookie(first));
    // Older than the process that shows the pod's own from here on.
    const elsewhere = await node.process(container, second);
    const application = await node.process(container, first);
    await pause.kill();
    expect(own()).toBe(netnsCookie(first));
    expect(resolver.podNamespaces(podOf(uid), { isThorough: true }).own?.pid).toBe(application.pid);
    await application.kill();
    expect(own()).toBe(netnsCookie(second));
    await elsewhere.kill();
    expect(own()).toBeUndefined();
  });

  it('takes no namespace that was made inside of the pod for its own, whatever addresses that has', async () => {
    const { uid, container } = makePod();
    const own = node.netns('real', ['10.66.13.7/32']);
    // As root of a user namespace of its own, it makes a network namespace with the pod's address.
    const escape = `unshare --user --map-root-user --net sh -c 'ip address add 10.66.13.7/32 dev lo; exec sleep 600'`;
    const child = await node.start(`echo $$ > "$1/cgroup.procs"; exec nsenter --net="$2" ${escape}`, container, own);
    await until('it has moved', () => commOf(child.pid) === 'sleep');
    expect(resolver.podNamespaces(podOf(uid))).toMatchObject({
      own: undefined,
      nested: [{ owner: 'below-host', addresses: ['10.66.13.7'] }],
      refused: expect.stringContaining('made inside of the pod'),
    });
    // A pod with a user namespace of its own has such a network namespace, and one that is made in it is another one.
    expect(resolver.podNetns(podOf(uid), { hasOwnUsers: true })).toMatchObject({ pid: child.pid });
    const deeper = await node.start(
      `echo $$ > "$1/cgroup.procs"; exec unshare --user --map-root-user unshare --user --map-root-user --net sleep 600`,
      makePod().container,
    );
    await until('it has moved', () => commOf(deeper.pid) === 'sleep');
    expect(resolver.resolveProcess(deeper.pid)).toMatchObject({ netns: { owner: 'other' } });
  });

  it('takes no namespace for the pod’s once all processes that showed it have left the pod', async () => {
    const { uid, container } = makePod();
    const elsewhere = makePod();
    const netns = node.netns('left', ['10.66.10.7/32']);
    const first = await node.process(container, netns);
    const second = await node.process(container, netns);
    const leave = (pid: number): void => writeFileSync(`${elsewhere.container}/cgroup.procs`, String(pid));
    const found = (): bigint | undefined => resolver.podNetns(podOf(uid))?.cookie;
    expect([found(), found()]).toEqual([netnsCookie(netns), netnsCookie(netns)]);
    leave(first.pid);
    expect(found()).toBe(netnsCookie(netns));
    leave(second.pid);
    expect(found()).toBeUndefined();
    expect(resolver.podNetns(podOf(elsewhere.uid))?.cookie).toBe(netnsCookie(netns));
  });

  it('looks into what the owner of the namespaces lends, whichever process leads there, and opens nothing', async () => {
    const { uid, container } = makePod();
    const path = node.netns('lent', ['10.66.11.7/32']);
    using netns = Netns.open(path);
    using other = Netns.create();
    const looks: { path: string; identity: string }[] = [];
    const lending =
      (which: Netns): LendNetns =>
      (seenAt, identity, look) => {
        looks.push({ path: seenAt, identity });
        return look(which);
      };
    const first = await node.process(container, path);
    // A namespace that is lent for another one is not taken for it.
    expect(resolver.podNetns(podOf(uid), { lend: lending(other) })).toBeUndefined();
    for (const lend of [lending(netns), lending(other)])
      expect(resolver.podNetns(podOf(uid), { lend })).toMatchObject({ cookie: netns.cookie, pid: first.pid });
    const second = await node.process(container, path);
    await first.kill();
    expect(resolver.podNetns(podOf(uid), { lend: lending(netns) })?.pid).toBe(second.pid);
    const { identity } = netns;
    expect(looks).toEqual([first, first, second].map(({ pid }) => ({ path: `/proc/${pid}/ns/net`, identity })));
  });

  it('sees addresses that come later', async () => {
    const { uid, container } = makePod();
    const netns = node.netns('late', []);
    const child = await node.process(container, netns);
    expect(resolver.resolveProcess(child.pid)).toMatchObject({ netns: { addresses: [] } });
    expect(resolver.podNetns(podOf(uid))?.cookie).toBe(netnsCookie(netns));
    execFileSync('nsenter', [`--net=${netns}`, 'ip', 'address', 'add', '10.66.4.7/32', 'dev', 'eth0']);
    expect(resolver.resolveProcess(child.pid)).toMatchObject({ netns: { addresses: ['10.66.4.7'] } });
  });

  it('asks to retry while a process is still in the host’s namespace, and resolves it once it has moved', async () => {
    const { uid, container } = makePod();
    const netns = node.netns('moving', ['10.66.5.7/32']);
    const script = `echo $$ > "$1/cgroup.procs"; read -r line; exec nsenter --net="$2" sleep 600`;
    const child = await node.start(script, container, netns);
    await until('it is in its cgroup', () =>
      readFileSync(`${container}/cgroup.procs`, 'utf8').includes(`${child.pid}`),
    );
    expect(resolver.resolveProcess(child.pid)).toEqual({
      kind: 'retry',
      reason: 'sh is in a pod’s cgroup, but still in the host’s network namespace',
    });
    expect(resolver.podNetns(podOf(uid))).toBeUndefined();
    child.release();
    await until('it moved', () => inode(`/proc/${child.pid}/ns/net`) === inode(netns));
    expect(resolver.resolveProcess(child.pid)).toMatchObject({ kind: 'pod', netns: { cookie: netnsCookie(netns) } });
    expect(resolver.podNetns(podOf(uid))?.pid).toBe(child.pid);
  });

  it('recognises a runtime’s own stages by their names, however old they are', async () => {
    const { container } = makePod();
    const script = `printf 'runc:[2:INIT]' > /proc/$$/comm; echo $$ > "$1/cgroup.procs"; read -r line`;
    const child = await node.start(script, container);
    await until('it is in its cgroup', () =>
      readFileSync(`${container}/cgroup.procs`, 'utf8').includes(`${child.pid}`),
    );
    expect(impatient.resolveProcess(child.pid)).toMatchObject({ kind: 'retry' });
  });

  it('takes a process that stays in the host’s namespace for one of a hostNetwork pod', async () => {
    const { uid, container } = makePod();
    const child = await node.hostProcess(container);
    expect(resolver.resolveProcess(child.pid)).toMatchObject({ kind: 'retry' });
    expect(impatient.resolveProcess(child.pid)).toMatchObject({
      kind: 'pod',
      podUid: uid,
      netns: undefined,
      netnsState: 'host',
    });
    expect(impatient.podNetns(podOf(uid))).toBeUndefined();
  });

  it('takes the young child of an old hostNetwork process for one of its pod', async () => {
    const { container } = makePod();
    const parent = await node.hostProcess(container);
    const child = await node.hostProcess(container);
    // The same processes, with start times and an uptime that the test chooses.
    const procPath = mkdtempSync(join(tmpdir(), 'sluice-proc-'));
    try {
      symlinkSync('/proc/self', join(procPath, 'self'));
      writeFileSync(join(procPath, 'uptime'), '1000.00 1.00\n');
      for (const [pid, startedAt] of [
        [parent.pid, 500],
        [child.pid, 999],
      ] as const) {
        mkdirSync(join(procPath, `${pid}/ns`), { recursive: true });
        const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(' ');
        fields[21] = String(startedAt * 100);
        writeFileSync(join(procPath, `${pid}/stat`), fields.join(' '));
        symlinkSync(`/proc/${pid}/cgroup`, join(procPath, `${pid}/cgroup`));
        symlinkSync(`/proc/${pid}/ns/net`, join(procPath, `${pid}/ns/net`));
      }
      const elsewhere = new CgroupResolver({ cgroupRoot: node.root, hostNetns, procPath });
      expect(elsewhere.resolveProcess(child.pid)).toMatchObject({ kind: 'pod', netnsState: 'host' });
      rmSync(join(procPath, String(parent.pid)), { recursive: true });
      expect(elsewhere.resolveProcess(child.pid)).toMatchObject({ kind: 'retry' });
    } finally {
      rmSync(procPath, { recursive: true, force: true });
    }
  });

  it('leaves everything outside the root to the host', async () => {
    const { uid, id } = podNames();
    const stray = node.cgroup(`/system/pod${uid}/${id}`);
    const child = await node.hostProcess(stray);
    expect(resolver.resolveProcess(child.pid)).toEqual({ kind: 'host', cgroupPath: stray, cgroupId: inode(stray) });
    expect(resolver.resolveProcess(process.pid)).toMatchObject({ kind: 'host' });
    const narrow = new CgroupResolver({ cgroupRoot: node.cgroup('/narrow'), hostNetns });
    expect(narrow.pods()).toEqual([]);
    expect(narrow.resolveProcess(child.pid)).toMatchObject({ kind: 'host', cgroupPath: stray });
  });

  it('finds pods when its root is inside the kubepods tree', async () => {
    const { uid, container } = makePod();
    const netns = node.netns('inside', ['10.66.6.7/32']);
    const child = await node.process(container, netns);
    const inside = new CgroupResolver({ cgroupRoot: `${node.root}/kubepods/besteffort`, hostNetns });
    expect(inside.pod(uid)).toEqual(resolver.pod(uid));
    expect(inside.resolveProcess(child.pid)).toEqual(resolver.resolveProcess(child.pid));
  });

  it('says that a process is gone: it ended, is not reaped yet, or never existed', async () => {
    const { container } = makePod();
    const netns = node.netns('gone', ['10.66.7.7/32']);
    const child = await node.process(container, netns);
    await child.kill();
    expect(resolver.resolveProcess(child.pid)).toEqual({ kind: 'gone' });
    expect(resolver.resolveProcess(2 ** 22 + 1)).toEqual({ kind: 'gone' });

    // The parent does not reap: the shell's child ends, and the shell has become sleep(1).
    const parent = await node.start(`echo $$ > "$1/cgroup.procs"; true & exec sleep 600`, container);
    const children = (): string => readFileSync(`/proc/${parent.pid}/task/${parent.pid}/children`, 'utf8').trim();
    const isZombie = (): boolean => {
      const pid = children();
      return /^\d+$/.test(pid) && / Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
    };
    await until('its child is a zombie', isZombie);
    expect(resolver.resolveProcess(Number(children()))).toEqual({ kind: 'gone' });
  });

  it('forgets a removed pod', async () => {
    const { uid, id, container } = makePod();
    const netns = node.netns('removed', ['10.66.8.7/32']);
    const child = await node.process(container, netns);
    const before = podOf(uid);
    expect(resolver.podNetns(before)).toBeDefined();
    await child.kill();
    node.removeCgroup(`/kubepods/besteffort/pod${uid}/${id}`);
    expect(resolver.podNetns(before)).toBeUndefined();
    node.removeCgroup(`/kubepods/besteffort/pod${uid}`);
    expect(resolver.podNetns(before)).toBeUndefined();
    expect(resolver.pod(uid)).toBeUndefined();
    expect(resolver.pods().map(({ podUid }) => podUid)).not.toContain(uid);
  });

  it('never gives a namespace’s cookie to the next one with the same inode', async () => {
    const { uid, container } = makePod();
    const cookies = new Set<bigint | undefined>();
    for (let round = 0; round < 8; round++) {
      const netns = node.netns('recycled', ['10.66.9.7/32']);
      const child = await node.process(container, netns);
      const ref = resolver.podNetns(podOf(uid));
      expect(ref).toMatchObject({ cookie: netnsCookie(netns), inode: inode(netns), pid: child.pid });
      cookies.add(ref?.cookie);
      // The kernel gives out the lowest free inode: in most rounds it is that of the round before.
      await child.kill();
      node.removeNetns('recycled');
    }
    expect(cookies.size).toBe(8);
  });

  it('goes on walking while pods come and go', async () => {
    const { uid, id } = podNames();
    const steady = makePod();
    const script = `cd "$1"; while mkdir -p pod${uid}/${id}/nested; do rmdir -p pod${uid}/${id}/nested 2>/dev/null; done`;
    const child = await node.start(script, node.cgroup('/kubepods/burstable/churn/kubepods'));
    for (let i = 0; i < 300; i++) {
      const found = resolver.pods().map(({ podUid }) => podUid);
      expect(found).toContain(steady.uid);
      resolver.pod(uid);
    }
    await child.kill();
  });

  it('says which capability an unprivileged caller lacks', async () => {
    const { container } = makePod();
    const child = await node.process(container, node.netns('denied', []));
    const script = `
      import { CgroupResolver } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)};
      process.setuid(65534);
      const resolver = new CgroupResolver({ cgroupRoot: ${JSON.stringify(node.root)}, hostNetns: '/proc/self/ns/net' });
      try { resolver.resolveProcess(${child.pid}); } catch (error) { process.stdout.write(error.reason + ' ' + error.message); }`;
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    expect(output).toBe(
      `permission-denied /proc/${child.pid}/ns/net: access is refused; looking at another process’s namespaces needs ` +
        'root, CAP_SYS_PTRACE and the host pid namespace (hostPID)',
    );
  });

  it('refuses a host namespace that does not exist', () => {
    expect(() => new CgroupResolver({ cgroupRoot: node.root, hostNetns: '/run/netns/sluice-absent' })).toThrow(
      'the host’s network namespace /run/netns/sluice-absent is not there',
    );
  });
});
