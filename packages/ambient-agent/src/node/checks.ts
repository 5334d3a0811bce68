// The checks before the agent starts. Each one fails with a sentence that has the object, the cause and the remedy.
import { statfsSync } from 'node:fs';
import { CgroupError, CgroupResolver } from '@sluice/cgroup-resolver';
import * as Effect from 'effect/Effect';
import type { AgentConfig } from '../config/config.js';
import { messageOf } from '../failure/message-of.js';
import { StartupError } from '../failure/startup-error.js';

// BPF_FS_MAGIC, linux/magic.h.
const BPF_FS_MAGIC = 0xcafe4a11;

/** Only root can load programs, enter network namespaces and receive process events. */
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
    const what = type === undefined ? 'does not exist' : 'is not a BPF file system';
    const message = `${path} ${what}, but the datapath has to be pinned there to outlive the agent; mount one: mount -t bpf bpf ${path}`;
    return Effect.fail(new StartupError({ check: 'bpffs', message }));
  });

/** Opens a resolver on the configured paths. Fails if there is no cgroup2 or no such network namespace. */
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
