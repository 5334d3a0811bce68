// The ZDS server on this node, connected to the datapath, which knows the captured listeners, and to the log.
import type { CgroupResolver } from '@sluice/cgroup-resolver';
import type { ZdsEvent } from '@sluice/zds';
import * as Effect from 'effect/Effect';
import * as Layer from 'effect/Layer';
import type { AgentConfig } from '../config/config.js';
import { Enforcement } from '../node/enforcement.js';
import { metrics } from '../observe/metrics.js';
import { zdsServer, type Zds, type ZdsOptions } from './zds.js';

/** Logs the events that are worth a line, in addition to the states of the pods. */
const logged = (event: ZdsEvent): Effect.Effect<void> => {
  switch (event.kind) {
    case 'connected':
      return Effect.logInfo('ztunnel connected', { connection: event.connection, pid: event.peer.pid });
    case 'synced':
      return Effect.logInfo('ztunnel has its snapshot', { connection: event.connection });
    case 'disconnected': {
      const { connection, peer, reason, detail } = event;
      return Effect.logInfo('ztunnel disconnected', { connection, pid: peer.pid, reason, detail });
    }
    case 'nacked': {
      const { uid, connection, reason } = event;
      return Effect.logWarning('ztunnel refused a pod', { uid, connection, reason });
    }
    case 'refused': {
      const { peer, reason } = event;
      const line = Effect.logWarning('a connection to the ZDS socket was refused', { pid: peer.pid, reason });
      return Effect.andThen(metrics.error('zds-refused'), line);
    }
    case 'protocolViolation':
      return Effect.logWarning('ztunnel broke the protocol', { connection: event.connection, reason: event.reason });
    case 'acceptFailed':
      return Effect.logError('no connection to the ZDS socket can be accepted', { reason: event.reason });
    default:
      return Effect.void;
  }
};

/** Whether ztunnel listens in a namespace. If that cannot be known, it counts as no; the next pass looks again and says why. */
const isServed = (enforcement: Enforcement['Service'], cookie: bigint): Effect.Effect<boolean> =>
  enforcement.missingListeners(cookie).pipe(
    Effect.map((ports) => ports.length === 0),
    Effect.catch(({ message }) =>
      Effect.as(Effect.logWarning('whether ztunnel serves a pod cannot be known', { cookie, message }), false),
    ),
  );

/** @param options `onChange` is called when another pass may find something new */
export const zdsOnNode = (
  config: AgentConfig,
  resolver: CgroupResolver,
  options: Pick<ZdsOptions, 'acknowledged' | 'listener' | 'beforeClose' | 'onChange'>,
): Layer.Layer<Zds, never, Enforcement> =>
  Layer.unwrap(
    Effect.gen(function* () {
      const enforcement = yield* Enforcement;
      const context = yield* Effect.context();
      return zdsServer({
        ...options,
        socket: config.zds.socket,
        resolver,
        isServed: (cookie) => Effect.runSyncWith(context)(isServed(enforcement, cookie)),
        onListeningAgain: Effect.andThen(
          metrics.repaired('zds-socket'),
          Effect.logWarning('put back what was missing', { kind: 'zds-socket', what: config.zds.socket }),
        ),
        onEvent: (event) => void Effect.runForkWith(context)(logged(event)),
      });
    }),
  );
