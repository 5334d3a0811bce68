// Why the kernel refused a link on a cgroup, and whose program is in the way.
import { statfsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { ATTACH_ALLOW_MULTI, ATTACH_ALLOW_OVERRIDE, queryCgroup } from './query.js';
import type { AttachedProgram } from './query.js';
import { missingCapabilities } from './capabilities.js';

/** CGROUP2_SUPER_MAGIC of linux/magic.h. */
const CGROUP2_SUPER_MAGIC = 0x63677270;
/** BPF_CGROUP_MAX_PROGS of kernel/bpf/cgroup.c. */
const MOST_PROGRAMS = 64;

/** A program that keeps others from being attached beside it. */
export interface ExclusiveProgram extends AttachedProgram {
  /** The cgroup it is attached to: the given one or one above it. */
  cgroupPath: string;
  /** Whether it was attached with BPF_F_ALLOW_OVERRIDE: it is in the way on its own cgroup only. */
  overridable: boolean;
}

/**
 * The program that makes a link on this cgroup impossible, if there is one. Follows hierarchy_allows_attach() of
 * kernel/bpf/cgroup.c: on the cgroup itself, any program attached without ALLOW_MULTI; above it, only the nearest cgroup that
 * has a program counts.
 */
export function findExclusiveProgram(cgroupPath: string, attachType: string): ExclusiveProgram | undefined {
  const own = resolve(cgroupPath);
  for (let path = own; isCgroup2(path); path = dirname(path)) {
    const { attachFlags, programs } = queryCgroup(path, attachType);
    const [program] = programs;
    const several = (attachFlags & ATTACH_ALLOW_MULTI) !== 0;
    if (path === own) {
      if (program !== undefined && !several)
        return { ...program, cgroupPath: path, overridable: overridable(attachFlags) };
    } else if (several) {
      // The kernel looks no further up; the flag counts even if the list is empty by now.
      return undefined;
    } else if (program !== undefined) {
      return overridable(attachFlags) ? undefined : { ...program, cgroupPath: path, overridable: false };
    }
    if (path === dirname(path)) break;
  }
  return undefined;
}

/**
 * The cause and the remedy of a refused attachment, as a sentence; undefined when nothing better is known than the
 * errno. `failure` needs only its `code`.
 */
export function explainAttachFailure(
  cgroupPath: string,
  attachType: string,
  failure: { code: string },
): string | undefined {
  if (failure.code === 'E2BIG') {
    return `the cgroup has ${MOST_PROGRAMS} programs of type ${attachType} already, which is the kernel's limit (E2BIG). Detach some: bpftool cgroup show ${cgroupPath}`;
  }
  if (failure.code !== 'EPERM') return undefined;
  if (missingCapabilities().length > 0) return undefined;
  let program: ExclusiveProgram | undefined;
  try {
    program = findExclusiveProgram(cgroupPath, attachType);
  } catch {
    return undefined;
  }
  if (program === undefined) return undefined;
  const place =
    program.cgroupPath === resolve(cgroupPath) ? 'to this cgroup' : `to the cgroup above it, ${program.cgroupPath},`;
  const flag = program.overridable ? 'with BPF_F_ALLOW_OVERRIDE' : 'exclusively (without BPF_F_ALLOW_MULTI)';
  return (
    `a foreign program is attached ${place} ${flag}, and the kernel allows none beside it (EPERM). ` +
    `It is ${nameOf(program)}. Detach it with "bpftool cgroup detach ${program.cgroupPath} ${attachType} id ${program.id}", ` +
    'or have its owner attach it by a bpf_link or with BPF_F_ALLOW_MULTI'
  );
}

function overridable(attachFlags: number): boolean {
  return (attachFlags & ATTACH_ALLOW_OVERRIDE) !== 0;
}

function nameOf(program: ExclusiveProgram): string {
  if (program.tag === '') return `program id ${program.id} (gone or hidden meanwhile)`;
  return `program '${program.name}', id ${program.id}, tag ${program.tag}, loaded by uid ${program.loadedByUid ?? '?'}`;
}

function isCgroup2(path: string): boolean {
  try {
    return statfsSync(path).type === CGROUP2_SUPER_MAGIC;
  } catch {
    return false;
  }
}
