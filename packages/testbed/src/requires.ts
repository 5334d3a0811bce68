// The gate of every kernel test: what the machine must have, and what to say if it does not.
import { accessSync, constants, existsSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** Something that a test needs from the machine. */
export type Need =
  | 'root'
  | 'bpf'
  | 'cgroup2'
  | 'netns'
  | 'proc-connector'
  | 'runc'
  | 'busybox'
  | 'qemu'
  | 'iptables'
  /** The programs of a real cluster; `npm run test:cluster` provides them. */
  | 'kubernetes';

/** What to do with a test: `label` is '' or ' [skipped: needs ...]', to be appended to the test's name. */
export interface Gate {
  readonly skip: boolean;
  readonly label: string;
}

/** PROC_PID_INIT_INO of include/linux/proc_ns.h: the initial pid namespace has this inode on every kernel. */
const INITIAL_PID_NAMESPACE = 'pid:[4026531836]';
/** Bit numbers of include/uapi/linux/capability.h. */
const CAP_NET_ADMIN = 12n;
const CAP_SYS_ADMIN = 21n;
/** The programs of a real cluster, including a CNI plugin. */
const CLUSTER_PROGRAMS =
  'etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kubectl containerd containerd-shim-runc-v2 ctr runc host-local';
const SBIN = ['/usr/local/sbin', '/usr/sbin', '/sbin'];

const present: Record<Need, () => boolean> = {
  root: () => process.geteuid?.() === 0,
  bpf: () =>
    existsSync('/sys/kernel/btf/vmlinux') &&
    existsSync('/proc/sys/kernel/unprivileged_bpf_disabled') &&
    can(CAP_SYS_ADMIN),
  cgroup2: () => cgroup2Mount() !== undefined,
  netns: () => can(CAP_SYS_ADMIN) && can(CAP_NET_ADMIN) && findProgram('ip') !== undefined,
  // The kernel makes /proc/net/connector in the initial netns only, and lists the callbacks registered there.
  'proc-connector': () =>
    readOr('/proc/net/connector').includes('cn_proc') &&
    readlinkSync('/proc/self/ns/pid') === INITIAL_PID_NAMESPACE &&
    can(CAP_NET_ADMIN),
  runc: () => findProgram('runc') !== undefined,
  busybox: () => findProgram('busybox') !== undefined,
  iptables: () => findProgram('iptables-legacy') !== undefined && findProgram('ip6tables-legacy') !== undefined,
  kubernetes: () => CLUSTER_PROGRAMS.split(' ').every((name) => findProgram(name) !== undefined),
  qemu: () => findProgram('qemu-system-x86_64') !== undefined,
};

/**
 * Says whether this machine can run a test with these needs. With CI=true in the environment a missing need throws:
 * on CI nothing is skipped.
 */
export function requires(...needs: Need[]): Gate {
  const missing = needs.filter((need) => !present[need]());
  if (missing.length === 0) return { skip: false, label: '' };
  const reason = `needs ${missing.join(', ')}`;
  if (process.env['CI'] === 'true')
    throw new Error(`a test ${reason}, which this machine lacks, and CI=true forbids skipping it`);
  return { skip: true, label: ` [skipped: ${reason}]` };
}

/** Where cgroup2 is mounted with its root visible. */
export function cgroup2Mount(): string | undefined {
  return mountsOf('cgroup2')[0];
}

/** Where file systems of a type are mounted, by this process's mountinfo (proc_pid_mountinfo(5)). */
export function mountsOf(type: string): string[] {
  return readOr('/proc/self/mountinfo')
    .split('\n')
    .filter((line) => line.split(' - ')[1]?.startsWith(`${type} `) === true)
    .map((line) => line.split(' ')[4] ?? '');
}

/** The absolute path of a program in PATH or in one of the sbin directories, which a user's PATH often lacks. */
export function findProgram(name: string): string | undefined {
  for (const directory of [...(process.env['PATH'] ?? '').split(':'), ...SBIN]) {
    const candidate = join(directory, name);
    try {
      accessSync(candidate, constants.X_OK);
      if (statSync(candidate).isFile()) return candidate;
    } catch {
      continue;
    }
  }
  return undefined;
}

function can(capability: bigint): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)/m.exec(readOr('/proc/self/status'))?.[1] ?? '0';
  return ((BigInt(`0x${effective}`) >> capability) & 1n) === 1n;
}

function readOr(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
