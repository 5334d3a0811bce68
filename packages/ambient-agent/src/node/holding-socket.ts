// The socket to which connections are given that wait for ztunnel. It is this process's, so that they are refused when no agent runs.
import { holdByPinned, type Datapath } from '@sluice/datapath';
import { silentListener, type OwnedFd } from '@sluice/linux';
import * as Effect from 'effect/Effect';
import type * as Scope from 'effect/Scope';
import type { AgentConfig } from '../config/config.js';
import { pinDirectory } from '../config/pin-directory.js';
import { messageOf } from '../failure/message-of.js';
import { metrics } from '../observe/metrics.js';

/** Undefined in `node` mode, where nothing can wait; or why there is none, in words. */
export type HoldingSocket = OwnedFd | { readonly why: string } | undefined;

const failed = (message: string): Effect.Effect<{ readonly why: string }> => {
  const why = `connections that cannot reach ztunnel are refused instead of held, because the socket that holds them could not be made: ${message}`;
  return Effect.as(Effect.andThen(metrics.error('hold'), Effect.logError(why)), { why });
};

/**
 * Opens it for as long as the scope lasts, and puts it at once in the place of that of the agent that ends: what waits goes on waiting
 * while this one loads its programs.
 */
export const holdingSocket = (
  config: Pick<AgentConfig, 'mode' | 'paths'>,
): Effect.Effect<HoldingSocket, never, Scope.Scope> =>
  config.mode === 'node'
    ? Effect.succeed(undefined)
    : Effect.acquireRelease(Effect.try({ try: () => silentListener(), catch: messageOf }), (socket) =>
        Effect.sync(() => socket.close()),
      ).pipe(
        Effect.tap(({ fd }) =>
          Effect.try({ try: () => holdByPinned(pinDirectory(config.paths.bpffs), fd), catch: messageOf }),
        ),
        Effect.catch(failed),
      );

const saysWhy = (message: string): Effect.Effect<string> => Effect.map(failed(message), ({ why }) => why);

/** Gives it to the programs that this agent has loaded. Returns why connections are not held, in words. */
export const holdBy = (datapath: Datapath, socket: HoldingSocket): Effect.Effect<string | undefined> => {
  if (socket === undefined) return Effect.succeed(undefined);
  if ('why' in socket) return Effect.succeed(socket.why);
  return Effect.try({ try: () => datapath.holdBy(socket.fd), catch: messageOf }).pipe(
    Effect.as(undefined),
    Effect.catch(saysWhy),
  );
};

/**
 * After somebody has taken it out of the map, or the agent that stood by has put its own there and ended. If that fails, it stays missing,
 * and what has to wait is refused. Returns why connections are not held, in words.
 */
export const holdAgain = (datapath: Datapath, socket: HoldingSocket): Effect.Effect<string | undefined> => {
  if (socket === undefined || 'why' in socket) return holdBy(datapath, socket);
  return Effect.try({ try: () => datapath.lacksHolder(), catch: messageOf }).pipe(
    Effect.flatMap((isGone) => (isGone ? holdBy(datapath, socket) : Effect.succeed(undefined))),
    Effect.catch(saysWhy),
  );
};
