// Removes everything of Sluice from the node: attachments, pins, changes in pods' namespaces, and files in the run directory.
import { existsSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import * as Effect from 'effect/Effect';
import { CgroupResolver, findCgroup2 } from '@sluice/cgroup-resolver';
import { cleanup as cleanupDatapath } from '@sluice/datapath';
import { connectSeqpacket, errorCode, lockFile, SystemCallError, type FileLock } from '@sluice/linux';
import { podsFile } from '../inventory/known-pods.js';
import { manifestsFile } from '../inventory/memory.js';
import { isAwaited, lockPath, standbyLockPath, unusableRunDir } from '../run-directory/lock.js';
import { messageOf } from '../failure/message-of.js';
import { pinDirectory } from '../config/pin-directory.js';
import { logLevelFile } from '../run-directory/log-level.js';
import { byCookie, netnsFile } from '../pod-netns/memory.js';
import { restoreAllNetns, type RestoredNetns } from '../pod-netns/restore-all.js';
import { stateFile } from '../state/state.js';
import type { Withdrawal } from './withdraw-announcements.js';
import { InspectError } from './errors.js';

export interface CleanupReport {
  /** Pods whose announcements were withdrawn. */
  readonly withdrawn: readonly string[];
  /** Programs that were detached from the cgroup. */
  readonly detached: readonly string[];
  readonly unpinned: readonly string[];
  /** What was restored in the network namespaces of pods, in sentences. */
  readonly restored: readonly string[];
  readonly files: readonly string[];
  /** What could not be removed, and why. */
  readonly problems: readonly string[];
}

export interface CleanupPlaces {
  readonly bpffs: string;
  readonly runDir: string;
  readonly proc: string;
  /** Undefined stands for the cgroup2 mount, as for the agent. */
  readonly cgroupRoot: string | undefined;
  /** Undefined stands for that of pid 1. */
  readonly hostNetns: string | undefined;
}

/** The cgroup to which the agent attaches by default. Without cgroup2 nothing can be attached. */
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

/** In a container the directory is a mount of the node, which cannot be removed from inside, so it stays empty. */
function removeIfEmpty(directory: string): void {
  if (!existsSync(directory) || readdirSync(directory).length > 0) return;
  try {
    rmdirSync(directory);
  } catch (error) {
    if (!['EBUSY', 'EROFS'].includes(errorCode(error) ?? '')) throw error;
  }
}

/** The socket of an agent that was killed. That of a living server is left alone. */
function deadSocket(socket: string | undefined): string[] {
  if (socket === undefined || !existsSync(socket)) return [];
  try {
    connectSeqpacket(socket).close();
    return [];
  } catch (error) {
    return error instanceof SystemCallError && error.code === 'ECONNREFUSED' ? [socket] : [];
  }
}

/** @param cgroupRoot undefined stands for the cgroup2 mount */
function restoreNetns(
  { proc, runDir }: CleanupPlaces,
  cgroupRoot: string | undefined,
  hostNetns: string | undefined,
): RestoredNetns {
  const kept = netnsFile(runDir).read();
  // If the file cannot be used, the kernel shows which namespaces were changed.
  const memory = byCookie(kept.kind === 'kept' ? kept.value.netns : []);
  try {
    const resolver = new CgroupResolver({
      procPath: proc,
      ...(cgroupRoot === undefined ? {} : { cgroupRoot }),
      ...(hostNetns === undefined ? {} : { hostNetns }),
    });
    return restoreAllNetns(resolver, memory, proc);
  } catch (error) {
    // Where pods cannot be looked for, no namespace was changed, unless an agent wrote it down.
    const problem = `${memory.size} network namespaces of pods could not be restored: ${messageOf(error)}`;
    return { restored: [], problems: memory.size === 0 ? [] : [problem] };
  }
}

export interface CleanupOptions {
  /** Whether to clean up even while an agent runs. */
  readonly force: boolean;
  /** Withdraws the announcements of pods, before anything is taken from the pods. */
  readonly withdraw: Effect.Effect<Withdrawal>;
}

/**
 * Idempotent. While it works no agent can start. Fails with an InspectError (agent-running), or with an error of the file system or
 * the kernel.
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
  // The agent may have been started with other paths than this command.
  const left = stateFile(runDir).read();
  const state = left.kind === 'kept' ? left.value : undefined;
  const known = state?.node;
  const places = [...new Set([pinDirectory(bpffs), ...(known === undefined ? [] : [known.pinDirectory])])];
  const cgroups = new Set([cgroupRoot ?? cgroup2Mount(proc), known?.cgroupRoot].filter((path) => path !== undefined));
  // The pins come first, each directory once, and then what is attached without a pin.
  const results = [
    ...places.map((place) => cleanupDatapath(place)),
    ...[...cgroups].map((cgroup) => cleanupDatapath(pinDirectory(bpffs), cgroup)),
  ];
  // The namespaces come last, because ztunnel needs their plumbing while anything is steered to it.
  const { restored, problems } = restoreNetns(given, cgroupRoot ?? known?.cgroupRoot, hostNetns ?? known?.hostNetns);
  const files: string[] = [];
  const written = [stateFile(runDir), manifestsFile(runDir), podsFile(runDir), netnsFile(runDir), logLevelFile(runDir)];
  const candidates = [
    ...deadSocket(state?.zds?.socket),
    ...written.flatMap(({ traces }) => traces),
    // An agent that stands by keeps the file that says so.
    ...(lock === undefined || isAwaited(runDir) ? [] : [standbyLockPath(runDir)]),
    ...(lock === undefined ? [] : [lockPath(runDir)]),
  ];
  for (const path of candidates) {
    if (!existsSync(path)) continue;
    rmSync(path, { recursive: true, force: true });
    files.push(path);
  }
  removeIfEmpty(runDir);
  // Taking the lock made its file, so its removal is not worth a line.
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
