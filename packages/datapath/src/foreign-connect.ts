// Programs of others that decide about the connections of pods, such as a CNI's socket load balancer. The kernel runs those of
// deeper cgroups first: what is attached above the pods sees the destination that Sluice's programs have left.
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { BpfError, BpfLink, queryCgroup } from '@sluice/libbpf';
import { linksDirectory, netnsCookieOf } from './layout.js';
import { openIfPinned } from './pins.js';

const HOOKS = ['connect4', 'connect6'] as const;

/** A program at connect() that is not of this datapath. */
export interface ForeignProgram {
  readonly id: number;
  /** Cut to 15 characters by the kernel; '' if it is gone by now. */
  readonly name: string;
  readonly hook: (typeof HOOKS)[number];
  /** Where it is attached; undefined if that is above what is mounted here, or if it was detached meanwhile. */
  readonly cgroup: string | undefined;
}

/**
 * Those that run for the tasks of each cgroup, wherever above it they are attached, each once for each hook. A program counts as
 * this datapath's by its pinned link, so that another Sluice on the node is foreign.
 * @param cgroups directories of cgroup2; those that are gone by now are left out
 * @throws BpfError without the right to look
 */
export function foreignConnectPrograms(pinDirectory: string, cgroups: Iterable<string>): ForeignProgram[] {
  const found = new Map<string, ForeignProgram>();
  let own: ReadonlySet<number> | undefined;
  for (const cgroup of new Set(cgroups)) {
    for (const hook of HOOKS) {
      for (const { id, name } of programsOf(cgroup, hook, true)) {
        own ??= ownPrograms(pinDirectory);
        const key = `${hook} ${id}`;
        if (own.has(id) || found.has(key)) continue;
        found.set(key, { id, name, hook, cgroup: placeOf(cgroup, hook, id) });
      }
    }
  }
  return [...found.values()];
}

/** The programs of all pinned links to cgroups. */
function ownPrograms(pinDirectory: string): ReadonlySet<number> {
  const directory = linksDirectory(pinDirectory);
  const names = existsSync(directory) ? readdirSync(directory) : [];
  const ids = names
    .filter((name) => netnsCookieOf(name) === undefined)
    .map((name) => {
      using link = openIfPinned(join(directory, name), (pin) => BpfLink.openPinned(pin));
      return link?.info().programId;
    });
  return new Set(ids.filter((id) => id !== undefined));
}

/** The cgroup itself or the nearest one above it to which a program is attached. */
function placeOf(cgroup: string, hook: ForeignProgram['hook'], id: number): string | undefined {
  for (let path = cgroup; path !== dirname(path); path = dirname(path))
    if (programsOf(path, hook, false).some((program) => program.id === id)) return path;
  return undefined;
}

/** None if it is no cgroup: it is gone, or lies above what is mounted. */
function programsOf(
  path: string,
  hook: ForeignProgram['hook'],
  isEffective: boolean,
): readonly { readonly id: number; readonly name: string }[] {
  try {
    return queryCgroup(path, hook, isEffective).programs;
  } catch (error) {
    if (error instanceof BpfError && ['ENOENT', 'ENODEV', 'EBADF'].includes(error.code)) return [];
    throw error;
  }
}
