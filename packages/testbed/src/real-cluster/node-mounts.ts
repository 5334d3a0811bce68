// What the node sees of the machine's files: private mounts in which /var, /run and /sys/fs/bpf are the cluster's own. So the
// kubelet, containerd and what they run have their usual paths, and the machine has none of their files.
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Cgroup } from '../cgroup.js';
import { LineProcess, runToEnd } from '../line-process.js';
import { enterCommand, peerProgram } from '../peer-program.js';

/**
 * What the kubelet (setupKernelTunables in pkg/kubelet/cm) and the CNI bridge want from the kernel. If a value differs they
 * write it for the whole machine, so files with these values are mounted over the kernel's. Pods on one bridge need no
 * forwarding.
 */
const WANTED_SYSCTLS = {
  'vm/overcommit_memory': '1',
  'vm/panic_on_oom': '0',
  'kernel/panic': '10',
  'kernel/panic_on_oops': '1',
  'kernel/keys/root_maxkeys': '1000000',
  'kernel/keys/root_maxbytes': '25000000',
  'net/ipv4/ip_forward': '1',
} as const;

/** Shared among themselves, which a volume with mountPropagation needs. $1: the directory; the rest: sysctls. */
const MOUNTS = `set -e
directory=$1 peer=$2
shift 2
mount --make-rshared /
for sysctl; do mount --bind "$directory/sysctl/$sysctl" "/proc/sys/$sysctl"; done
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs -o mode=755 tmpfs /run
mount --bind "$directory/var" /var
exec "$peer" pause`;

export class NodeMounts {
  readonly #holder: LineProcess;

  private constructor(holder: LineProcess) {
    this.#holder = holder;
  }

  /** They end with the last process in them: a sleeping one in `cgroup` holds them. */
  static async create(directory: string, cgroup: Cgroup): Promise<NodeMounts> {
    const lib = join(directory, 'var/lib');
    for (const path of [lib, join(directory, 'var/log'), join(directory, 'var/tmp')])
      mkdirSync(path, { recursive: true });
    // It is relative, so that it leads to the same place when seen from outside.
    symlinkSync('../run', join(directory, 'var/run'));
    for (const [name, value] of Object.entries(WANTED_SYSCTLS)) {
      mkdirSync(join(directory, 'sysctl', name, '..'), { recursive: true });
      writeFileSync(join(directory, 'sysctl', name), `${value}\n`);
    }
    const script = ['sh', '-c', MOUNTS, 'sh', directory, peerProgram(), ...Object.keys(WANTED_SYSCTLS)];
    const command = ['unshare', '--mount', '--propagation', 'private', ...script];
    const holder = await LineProcess.start(enterCommand({ cgroup: cgroup.path }, command));
    await holder.lineMatching(/^ready$/);
    return new NodeMounts(holder);
  }

  /** The command line that runs another one inside these mounts. */
  command(argv: readonly string[]): string[] {
    return ['nsenter', `--mount=/proc/${this.#holder.pid}/ns/mnt`, '--', ...argv];
  }

  /** Runs a program inside them until it ends, and returns its lines. */
  run(argv: readonly string[]): Promise<string[]> {
    return runToEnd(this.command(argv));
  }

  /** The path of a file of the node, as seen from outside these mounts. */
  path(inside: string): string {
    return `/proc/${this.#holder.pid}/root${inside}`;
  }
}
