// A network namespace of the testbed's own. A sleeping process holds it, so that no mount makes it outlive the testbed.
import type { Cgroup } from './cgroup.js';
import { LineProcess, runToEnd } from './line-process.js';
import { enterCommand, peerProgram } from './peer-program.js';

/**
 * Duplicate address detection would delay IPv6 addresses by a second. TCP Fast Open is on for both sides without cookies, so
 * that MSG_FASTOPEN really sends data in the first SYN (ip-sysctl.rst: 1|2|4|0x200|0x400).
 */
const SYSCTLS = {
  'net.ipv6.conf.all.disable_ipv6': '0',
  'net.ipv6.conf.default.disable_ipv6': '0',
  'net.ipv6.conf.all.accept_dad': '0',
  'net.ipv6.conf.default.accept_dad': '0',
  'net.ipv4.tcp_fastopen': String(0x607),
};

/** A new network namespace with its loopback up. */
export class Namespace {
  /** Valid while the namespace is open: /proc/<pid>/ns/net. */
  readonly path: string;
  /** The process that holds it. */
  readonly pid: number;
  readonly #holder: LineProcess;

  private constructor(holder: LineProcess) {
    this.#holder = holder;
    this.pid = holder.pid;
    this.path = `/proc/${holder.pid}/ns/net`;
  }

  /** `holders` is the cgroup of the process that holds the namespace. */
  static async create(holders: Cgroup, sysctls: Readonly<Record<string, string>> = {}): Promise<Namespace> {
    const place = { cgroup: holders.path, newNetns: true, sysctls: { ...SYSCTLS, ...sysctls } };
    const holder = await LineProcess.start(enterCommand(place, [peerProgram(), 'pause']));
    await holder.lineMatching(/^ready$/);
    const namespace = new Namespace(holder);
    await namespace.ip('link set lo up');
    return namespace;
  }

  /** Runs commands of ip(8) inside, in one batch. */
  async ip(...commands: string[]): Promise<void> {
    await this.run(['ip', '-batch', '-'], commands);
  }

  /** Runs a program of the machine inside until it ends, and returns its lines. */
  run(argv: readonly string[], input: readonly string[] = []): Promise<string[]> {
    return runToEnd(enterCommand({ netns: this.path }, argv), input);
  }

  /** The namespace ends with its last process. */
  async close(): Promise<void> {
    await this.#holder.stop();
  }
}
