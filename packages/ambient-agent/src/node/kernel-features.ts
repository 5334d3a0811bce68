// Checks at the start that the kernel has what the configured mode needs. Everything that is missing is named at once, before
// anything is loaded. docs/kernels.md has the list, and what each feature is for.
import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { missingKernelFeatures, objectPaths, type KernelFeature } from '@sluice/datapath';
import { checkPidfdGetfd, netnsCookie } from '@sluice/linux';
import * as Effect from 'effect/Effect';
import type { AgentConfig } from '../config/config.js';
import { messageOf } from '../failure/message-of.js';
import { StartupError } from '../failure/startup-error.js';

type KernelConfig = Pick<AgentConfig, 'mode' | 'paths'>;

/** The oldest kernel on which the datapath is tested (scripts/kernels). */
const OLDEST_TESTED = '6.1';

/** The capabilities that are needed, with their bits (linux/capability.h) and purposes. */
const CAPABILITIES = [
  { name: 'CAP_NET_ADMIN', bit: 12n, purpose: 'attaching programs to network hooks' },
  { name: 'CAP_SYS_PTRACE', bit: 19n, purpose: 'looking at the namespaces of pods and ztunnel’s sockets' },
  { name: 'CAP_SYS_ADMIN', bit: 21n, purpose: 'entering the network namespaces of pods' },
] as const;

/** With this value of kernel/yama no process may be traced, whatever its capabilities (Documentation/admin-guide/LSM/Yama.rst). */
const YAMA_NO_ATTACH = '3';

/** One sentence for everything that is missing; none if the agent can run. Leaves nothing in the kernel. */
export function kernelProblems(
  config: KernelConfig,
  missing: typeof missingKernelFeatures = missingKernelFeatures,
): string[] {
  const inPod = config.mode === 'inPod';
  const lacking = CAPABILITIES.filter(({ bit }) => !hasCapability(bit));
  if (lacking.length > 0)
    return lacking.map(
      ({ name, purpose }) =>
        `this process lacks ${name}, which is for ${purpose}; grant it (securityContext.capabilities.add)`,
    );
  const problems = [...bpfProblems(missing, inPod), ...cookieProblems()];
  return inPod ? [...problems, ...descriptorProblems(config.paths.proc)] : problems;
}

/** Fails with everything that is missing. */
export const checkKernel = (config: KernelConfig): Effect.Effect<void, StartupError> =>
  Effect.suspend(() => {
    const problems = kernelProblems(config);
    if (problems.length === 0) return Effect.void;
    return Effect.fail(new StartupError({ check: 'kernel', message: problems.join('\n') }));
  });

function bpfProblems(missing: typeof missingKernelFeatures, inbound: boolean): string[] {
  let features: KernelFeature[];
  try {
    features = missing(objectPaths({ inbound }));
  } catch (error) {
    return [
      `the kernel cannot be asked for BPF features: ${messageOf(error)}; see kernel.unprivileged_bpf_disabled, lockdown and seccomp`,
    ];
  }
  return features.map(({ name, since, usedBy, options }) => {
    const where = since === undefined ? `it needs ${options}` : `it is in Linux ${since} (${options})`;
    return `Linux ${release()} has no ${name}, which ${usedBy} needs; ${where}, and the oldest that is tested is ${OLDEST_TESTED}`;
  });
}

function cookieProblems(): string[] {
  try {
    netnsCookie('/proc/self/ns/net');
    return [];
  } catch (error) {
    return [`the cookies of network namespaces cannot be read (SO_NETNS_COOKIE, Linux 5.14): ${messageOf(error)}`];
  }
}

/** What it takes to duplicate ztunnel's listeners that exist when the agent starts. */
function descriptorProblems(procPath: string): string[] {
  const problems: string[] = [];
  try {
    checkPidfdGetfd();
  } catch (error) {
    problems.push(
      `ztunnel’s sockets cannot be taken over (pidfd_getfd, Linux 5.6): ${messageOf(error)}; a seccomp profile may refuse it, too`,
    );
  }
  if (readText(join(procPath, 'sys/kernel/yama/ptrace_scope')) === YAMA_NO_ATTACH)
    problems.push(
      'ztunnel’s sockets cannot be taken over: kernel.yama.ptrace_scope is 3, which forbids it to everybody until the next boot; boot with 2 or less',
    );
  return problems;
}

function hasCapability(bit: bigint): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readText('/proc/self/status') ?? '')?.[1];
  // If this cannot be read, the call that needs the capability will fail.
  return effective === undefined || ((BigInt(`0x${effective}`) >> bit) & 1n) === 1n;
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined; // no such file system, or no Yama
  }
}
