// An agent beside one that runs: it finds out whether it could take over, changes nothing, and waits until it may.
import { Datapath } from '@sluice/datapath';
import * as Effect from 'effect/Effect';
import type * as Scope from 'effect/Scope';
import type { AgentConfig } from './config/config.js';
import { pinDirectory } from './config/pin-directory.js';
import { withReserve } from './enrolment/room.js';
import { messageOf } from './failure/message-of.js';
import { StartupError } from './failure/startup-error.js';
import { metrics } from './observe/metrics.js';
import { awaitLock, lockPath, type HeldLock } from './run-directory/lock.js';

/**
 * Loads the programs on the maps that are pinned, as a takeover does, and lets them go. Nothing is attached, pinned or written. An agent
 * whose programs this kernel refuses must not bring the other one to its end.
 */
const rehearse = ({ paths, capacities }: AgentConfig, cgroup: string): Effect.Effect<void, StartupError> =>
  Effect.try({
    try: () =>
      Datapath.open({ pinDirectory: pinDirectory(paths.bpffs), cgroup, capacities: withReserve(capacities) }).close(),
    catch: (error) => new StartupError({ check: 'datapath', message: messageOf(error) }),
  });

/** Succeeds with the lock when the other agent has ended, in whichever way. Fails if this one could not take over. */
export const standBy = (config: AgentConfig, cgroup: string): Effect.Effect<HeldLock, StartupError, Scope.Scope> =>
  Effect.gen(function* () {
    yield* rehearse(config, cgroup);
    yield* metrics.standby(true);
    yield* Effect.logInfo('standing by: another agent runs, and this one takes over when it ends', {
      lock: lockPath(config.paths.runDir),
    });
    const lock = yield* awaitLock(config.paths.runDir);
    yield* metrics.standby(false);
    yield* Effect.logInfo('taking over');
    return lock;
  });
