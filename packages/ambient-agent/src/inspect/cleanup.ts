// Takes everything of Sluice off the node: attachments, pins, and what the agent left in its run directory.
import { existsSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import * as Effect from 'effect/Effect';
import { CgroupResolver, findCgroup2 } from '@sluice/cgroup-resolver';
import { cleanup as cleanupDatapath } from '@sluice/datapath';
import { connectSeqpacket, errorCode, lockFile, SystemCallError, type FileLock } from '@sluice/linux';
import { manifestsFile } from '../inventory/memory.js';
import { lockPath, unusableRunDir } from '../run-directory/lock.js';
import { messageOf } from '../failure/message-of.js';
import { pinDirectory } from '../config/pin-directory.js';
import { logLevelFile } from '../run-directory/log-level.js';
import { byCookie, netnsFile } from '../pod-netns/memory.js';
import { restoreAllNetns, type RestoredNetns } from '../pod-netns/restore-all.js';
import { stateFile } from '../state/state.js';
import type { Withdrawal } from './withdraw-announcements.js';
import { InspectError } from './errors.js';

export interface CleanupReport {
  /** Pods of which nothing is announced any more. */
  readonly withdrawn: readonly string[];
  /** Programs that were detached from the cgroup. */
  readonly detached: readonly string[];
  readonly unpinned: readonly string[];
  /** What was given back in the network namespaces of pods, in sentences. */
  readonly restored: readonly string[];
  readonly files: readonly string[];
  /** What could not be removed, and why. */
  readonly problems: readonly string[];
}

export interface CleanupPlaces {
  readonly bpffs: string;
  readonly runDir: string;
  readonly proc: string;
  /** Undefined: the cgroup2 mount, as for the agent. */
  readonly cgroupRoot: string | undefined;
  /** Undefined: pid 1's. */
  readonly hostNetns: string | undefined;
}

/** Where the agent attaches by default; nothing can be attached where there is no cgroup2. */
function cgroup2Mount(proc: string): string | undefined {
  try {
    return findCgroup2(proc).mountPoint;
  } catch {
    return undefined;
  }
}

function takeLock(runDir: string): FileLock | undefined {
  try {
    return lockFile(lockPath(runDir));
  } catch (error) {
    throw new InspectError('run-directory', unusableRunDir(runDir, error));
  }
}

function heldLock(runDir: string, force: boolean): FileLock | undefined {
  if (!existsSync(runDir)) return undefined;
  const lock = takeLock(runDir);
  if (lock === undefined && !force) {
    const message = `an agent is running (it holds ${lockPath(runDir)}) and would put back what is removed; stop it first, or use --force`;
    throw new InspectError('agent-running', message);
  }
  return lock;
}

/** In a container the directory is a mount of the node's, which cannot be removed from inside: it stays, empty. */
function removeIfEmpty(directory: string): void {
  if (!existsSync(directory) || readdirSync(directory).length > 0) return;
  try {
    rmdirSync(directory);
  } catch (error) {
    if (!['EBUSY', 'EROFS'].includes(errorCode(error) ?? '')) throw error;
  }
}

/** What an agent that was killed left of its socket; a living server's is not touched. */
function deadSocket(socket: string | undefined): string[] {
  if (socket === undefined || !existsSync(socket)) return [];
  try {
    connectSeqpacket(socket).close();
    return [];
  } catch (error) {
    return error instanceof SystemCallError && error.code === 'ECONNREFUSED' ? [socket] : [];
  }
}

/** @param cgroupRoot undefined: the cgroup2 mount */
function restoreNetns(
  { proc, runDir }: CleanupPlaces,
  cgroupRoot: string | undefined,
  hostNetns: string | undefined,
): RestoredNetns {
  const kept = netnsFile(runDir).read();
  // Where it cannot be used, the kernel shows what is there.
  const memory = byCookie(kept.kind === 'kept' ? kept.value.netns : []);
  try {
    const resolver = new CgroupResolver({
      procPath: proc,
      ...(cgroupRoot === undefined ? {} : { cgroupRoot }),
      ...(hostNetns === undefined ? {} : { hostNetns }),
    });
    return restoreAllNetns(resolver, memory, proc);
  } catch (error) {
    // Nothing was changed where no pods can be looked for, unless an agent says so.
    const problem = `${memory.size} network namespaces of pods are not as they were: ${messageOf(error)}`;
    return { restored: [], problems: memory.size === 0 ? [] : [problem] };
  }
}

export interface CleanupOptions {
  /** Also while an agent runs. */
  readonly force: boolean;
  /** Takes back what was announced of the pods, before anything is taken from them. */
  readonly withdraw: Effect.Effect<Withdrawal>;
}

/**
 * Idempotent. While it works no agent can start. Fails with an InspectError (agent-running), or with what the file system and
 * the kernel say.
 */
export const cleanupNode = (
  places: CleanupPlaces,
  { force, withdraw }: CleanupOptions,
): Effect.Effect<CleanupReport, unknown> =>
  Effect.acquireUseRelease(
    Effect.try({ try: () => heldLock(places.runDir, force), catch: (error) => error }),
    (lock) =>
      Effect.flatMap(withdraw, (withdrawal) =>
        Effect.try({ try: () => removeAll(places, withdrawal, lock), catch: (error) => error }),
      ),
    (lock) => Effect.sync(() => lock?.close()),
  );

function removeAll(given: CleanupPlaces, withdrawal: Withdrawal, lock: FileLock | undefined): CleanupReport {
  const { bpffs, runDir, cgroupRoot, hostNetns, proc } = given;
  // The agent may have been told other places than this command.
  const left = stateFile(runDir).read();
  const state = left.kind === 'kept' ? left.value : undefined;
  const known = state?.node;
  const places = [...new Set([pinDirectory(bpffs), ...(known === undefined ? [] : [known.pinDirectory])])];
  const cgroups = new Set([cgroupRoot ?? cgroup2Mount(proc), known?.cgroupRoot].filter((path) => path !== undefined));
  // Pins first, each place once; then what is attached without one.
  const results = [
    ...places.map((place) => cleanupDatapath(place)),
    ...[...cgroups].map((cgroup) => cleanupDatapath(pinDirectory(bpffs), cgroup)),
  ];
  // Last: while anything is steered to ztunnel, it needs what is in the namespaces.
  const { restored, problems } = restoreNetns(given, cgroupRoot ?? known?.cgroupRoot, hostNetns ?? known?.hostNetns);
  const files: string[] = [];
  const written = [stateFile(runDir), manifestsFile(runDir), netnsFile(runDir), logLevelFile(runDir)];
  const candidates = [
    ...deadSocket(state?.zds?.socket),
    ...written.flatMap(({ traces }) => traces),
    ...(lock === undefined ? [] : [lockPath(runDir)]),
  ];
  for (const path of candidates) {
    if (!existsSync(path)) continue;
    rmSync(path, { recursive: true, force: true });
    files.push(path);
  }
  removeIfEmpty(runDir);
  // The lock's file is made by taking the lock: it is not news that it was removed.
  const detached = results.flatMap((result) => result.detached);
  const unpinned = results.flatMap((result) => result.unpinned);
  return {
    withdrawn: withdrawal.withdrawn,
    detached,
    unpinned,
    restored,
    problems: [...withdrawal.problems, ...problems],
    files: files.filter((path) => path !== lockPath(runDir)),
  };
}
