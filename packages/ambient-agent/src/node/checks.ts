// What must be so before the agent starts: each check ends in a sentence with the object, the cause and the remedy.
import { mkdirSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { CgroupError, CgroupResolver } from '@sluice/cgroup-resolver';
import { lockFile, type FileLock } from '@sluice/linux';
import * as Effect from 'effect/Effect';
import type * as Scope from 'effect/Scope';
import type { AgentConfig } from '../config/config.js';
import { StartupError } from './startup-error.js';

// BPF_FS_MAGIC, linux/magic.h.
const BPF_FS_MAGIC = 0xcafe4a11;

/** Loading programs, entering network namespaces and hearing process events are all root's. */
export const checkRoot: Effect.Effect<void, StartupError> = Effect.suspend(() => {
  const uid = process.getuid?.();
  if (uid === 0) return Effect.void;
  const message =
    `this process runs as user ${uid}, and loading BPF programs and watching processes needs root; ` +
    'start it as root (sudo sluice ..., or runAsUser: 0 in Kubernetes)';
  return Effect.fail(new StartupError({ check: 'root', message }));
});

export const checkBpffs = (path: string): Effect.Effect<void, StartupError> =>
  Effect.suspend(() => {
    let type: number | undefined;
    try {
      type = statfsSync(path).type;
    } catch {
      type = undefined;
    }
    if (type === BPF_FS_MAGIC) return Effect.void;
    const what = type === undefined ? 'is not there' : 'is not a BPF file system';
    const message = `${path} ${what}, and the datapath is pinned there to outlive the agent; mount one: mount -t bpf bpf ${path}`;
    return Effect.fail(new StartupError({ check: 'bpffs', message }));
  });

/** A resolver on the configured places. Fails where there is no cgroup2 or no such network namespace. */
export const openResolver = ({ paths }: Pick<AgentConfig, 'paths'>): Effect.Effect<CgroupResolver, StartupError> =>
  Effect.try({
    try: () =>
      new CgroupResolver({
        procPath: paths.proc,
        ...(paths.cgroupRoot === undefined ? {} : { cgroupRoot: paths.cgroupRoot }),
        ...(paths.hostNetns === undefined ? {} : { hostNetns: paths.hostNetns }),
      }),
    catch: (error) => {
      const isNetns = error instanceof CgroupError && error.path === paths.hostNetns;
      return new StartupError({ check: isNetns ? 'host-netns' : 'cgroup2', message: messageOf(error) });
    },
  });

/** Where the lock is. */
export const lockPath = (runDir: string): string => join(runDir, 'lock');

/** What to say of a run directory in which nothing can be written, or no lock taken. */
export function unusableRunDir(runDir: string, error: unknown): string {
  const isReadOnly = typeof error === 'object' && error !== null && 'code' in error && error.code === 'EROFS';
  const why = isReadOnly ? 'its file system is read-only (EROFS)' : messageOf(error);
  return `the run directory ${runDir} cannot be used: ${why}; name another with \`paths.runDir\``;
}

/** Makes the run directory (0700) and takes its lock; undefined when another process has it. */
export const tryLock = (runDir: string): Effect.Effect<FileLock | undefined, StartupError> =>
  Effect.try({
    try: () => {
      mkdirSync(runDir, { recursive: true, mode: 0o700 });
      return lockFile(lockPath(runDir));
    },
    catch: (error) => new StartupError({ check: 'run-directory', message: unusableRunDir(runDir, error) }),
  });

/** One agent a run directory, for as long as the scope lasts. */
export const holdLock = (runDir: string): Effect.Effect<void, StartupError, Scope.Scope> =>
  Effect.gen(function* () {
    const lock = yield* Effect.acquireRelease(tryLock(runDir), (held) => Effect.sync(() => held?.close()));
    if (lock !== undefined) return;
    const message = `another agent is running: it holds ${lockPath(runDir)}; stop it first, or give this one its own \`paths.runDir\` and \`paths.bpffs\``;
    return yield* new StartupError({ check: 'lock', message });
  });

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  const hasMessage = typeof error === 'object' && error !== null && 'message' in error;
  return hasMessage ? String(error.message) : String(error);
}
