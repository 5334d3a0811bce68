// The ZDS server as a service of the agent. It listens once the first pass knows everything, knows which pods are acknowledged,
// and closes with the scope; ztunnel then goes on serving its pods.
import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { connectSeqpacket, listenSeqpacket, type SeqpacketListener } from '@sluice/linux';
import { ZdsServer, type ZdsEvent, type ZdsMetrics, type ZdsWorkload } from '@sluice/zds';
import * as Context from 'effect/Context';
import * as Effect from 'effect/Effect';
import * as Layer from 'effect/Layer';
import * as Schema from 'effect/Schema';
import type * as Scope from 'effect/Scope';
import type { InPodFacts } from '../enrolment/served.js';
import { noneServed } from '../enrolment/served.js';
import { messageOf } from '../failure/message-of.js';
import { StartupError } from '../failure/startup-error.js';
import { Acknowledgements } from './acknowledgements.js';
import { Removals } from './removals.js';
import { ztunnelOf, type ZtunnelPeers } from './authorize.js';

/** A ztunnel that has sent its Hello. */
export const ZdsConnection = Schema.Struct({
  pid: Schema.Int,
  /** `namespace/name` of its pod. */
  pod: Schema.String,
  /** When it connected, ISO 8601. */
  since: Schema.String,
  /** Whether it has acknowledged its snapshot. */
  isSynced: Schema.Boolean,
});
export type ZdsConnection = typeof ZdsConnection.Type;

/** A pod for ztunnel to serve. */
export interface OfferedPod extends ZdsWorkload {
  /** The cookie of its network namespace. */
  readonly cookie: bigint;
}

export interface ZdsOffer {
  /** What could not be offered, by pod UID. */
  readonly problems: ReadonlyMap<string, string>;
}

/** What the ZDS server knows of pods and of the ztunnels that serve them. */
export interface ZdsFacts extends Pick<InPodFacts, 'acknowledged' | 'refusals' | 'isConnected'> {
  /** The connected ztunnel that acknowledged each pod last, by pod UID. None if it is not connected any more. */
  readonly acknowledgedBy: ReadonlyMap<string, { readonly connection: number; readonly pid: number }>;
}

export class Zds extends Context.Service<
  Zds,
  {
    readonly facts: () => ZdsFacts;
    /**
     * Sets which ztunnel pods may connect from now on: their names for people, by their UIDs in cgroupfs. Give only those whose
     * cgroups are in the maps, because listeners that a ztunnel opens before that are not captured.
     */
    readonly admit: (ztunnels: ReadonlyMap<string, string>) => void;
    /** Sets all pods that ztunnel is to serve. The first call starts to listen. */
    readonly offer: (pods: readonly OfferedPod[]) => Effect.Effect<ZdsOffer, StartupError>;
    /** How many removals a connected ztunnel has not acknowledged yet. */
    readonly unacknowledgedRemovals: () => number;
    /** The newest one comes last. */
    readonly connections: () => readonly ZdsConnection[];
    /** Why a ztunnel that starts cannot reach the agent, and what to do; undefined if the socket is there, or not yet. */
    readonly lostSocket: () => string | undefined;
    /** Undefined until it listens. */
    readonly metrics: () => ZdsMetrics | undefined;
  }
>()('@sluice/ambient-agent/zds/Zds') {}

/** For `node` mode, in which ztunnel does not ask. */
export const noZds: Layer.Layer<Zds> = Layer.succeed(
  Zds,
  Zds.of({
    facts: () => ({ ...noneServed, acknowledgedBy: new Map() }),
    admit: () => {},
    offer: () => Effect.succeed({ problems: new Map() }),
    unacknowledgedRemovals: () => 0,
    connections: () => [],
    lostSocket: () => undefined,
    metrics: () => undefined,
  }),
);

export interface ZdsOptions {
  readonly socket: string;
  /** What an earlier agent saw acknowledged: cookies by pod UID. */
  readonly acknowledged: ReadonlyMap<string, bigint>;
  readonly resolver: ZtunnelPeers['resolver'];
  /** Whether ztunnel's listeners for a namespace are known to the datapath. */
  readonly isServed: (cookie: bigint) => boolean;
  /** One that listens already, and from which nothing was accepted; undefined if {@link Zds} has to make it. */
  readonly listener: SeqpacketListener | undefined;
  /** Runs before the end. @param isReplaced whether another server listens at the path by now */
  readonly beforeClose: (isReplaced: () => boolean) => Effect.Effect<void>;
  /** Called when `facts` or `connections` may have changed. */
  readonly onChange: () => void;
  /** Called with every event, for the log and the counters. */
  readonly onEvent: (event: ZdsEvent) => void;
  /** Runs after the socket was removed and made again. */
  readonly onListeningAgain: Effect.Effect<void>;
}

/** How often the agent looks whether the socket is still its own, in milliseconds: as often as for what else was taken away. */
const LOOK_EVERY_MS = 1000;

/** Makes the socket's directory, and refuses a socket that another process serves, before anything on the node is changed. */
export const checkZdsSocket = (socket: string): Effect.Effect<void, StartupError> =>
  Effect.suspend(() => {
    try {
      mkdirSync(dirname(socket), { recursive: true });
    } catch (error) {
      const message = `the directory of the ZDS socket ${socket} cannot be made: ${messageOf(error)}; name another with \`zds.socket\``;
      return Effect.fail(new StartupError({ check: 'zds', message }));
    }
    try {
      connectSeqpacket(socket).close();
    } catch {
      // Nobody serves the socket. Any other obstacle is reported when the server starts to listen.
      return Effect.void;
    }
    const message = `another ZDS server listens at ${socket} (istio-cni?), and ztunnel can have only one; remove it from this node, or name another socket with \`zds.socket\` and ztunnel's INPOD_UDS`;
    return Effect.fail(new StartupError({ check: 'zds', message }));
  });

/**
 * Listens in the place of the agent that stood there before, whether that still does or not, and accepts nothing yet: ztunnel finds
 * somebody at every moment, and waits for its snapshot until that is complete. Closed with the scope.
 * @param former where that agent listened. A server at another socket is somebody else's
 */
export const takeZdsSocket = (
  socket: string,
  former: string | undefined,
): Effect.Effect<SeqpacketListener, StartupError, Scope.Scope> =>
  Effect.gen(function* () {
    if (former !== socket) yield* checkZdsSocket(socket);
    return yield* Effect.acquireRelease(
      Effect.try({
        try: () => listenSeqpacket(socket, { replace: true }),
        catch: (error) => cannotListen(socket, error),
      }),
      (listener) => Effect.sync(() => listener.close()),
    );
  });

const cannotListen = (socket: string, error: unknown): StartupError =>
  new StartupError({
    check: 'zds',
    message: `the agent cannot listen at the ZDS socket ${socket}: ${messageOf(error)}`,
  });

const inodeOf = (path: string): number | undefined => statSync(path, { throwIfNoEntry: false })?.ino;

export const zdsServer = (options: ZdsOptions): Layer.Layer<Zds> =>
  Layer.effect(
    Zds,
    Effect.gen(function* () {
      const { socket, resolver, onChange, onEvent } = options;
      let admitted: ReadonlyMap<string, string> = new Map();
      const acknowledgements = new Acknowledgements(options.acknowledged);
      const connections = new Map<number, ZdsConnection>();
      const pods = new Map<number, string>();
      const removals = new Removals();
      let server: ZdsServer | undefined;
      /** Of the socket's file; undefined until it listens. */
      let own: number | undefined;
      const isReplaced = (): boolean => own !== undefined && inodeOf(socket) !== own;
      /** Why it cannot be made again. */
      let refusal: string | undefined;
      yield* Effect.addFinalizer(() =>
        Effect.andThen(
          server === undefined ? Effect.void : options.beforeClose(isReplaced),
          Effect.promise(async () => server?.close()),
        ),
      );

      /** Makes a socket that was removed again. Another one at its place is somebody else's, and stays. Returns whether it did. */
      const healed = (): boolean => {
        if (server === undefined || !isReplaced() || inodeOf(socket) !== undefined) return false;
        try {
          mkdirSync(dirname(socket), { recursive: true });
          server.listenAgain();
          own = inodeOf(socket);
          refusal = undefined;
          return true;
        } catch (error) {
          refusal = messageOf(error);
          return false;
        }
      };
      // The end interrupts this before it hands over, so that the successor's socket is left alone.
      yield* Effect.suspend(() => (healed() ? options.onListeningAgain : Effect.void)).pipe(
        Effect.delay(LOOK_EVERY_MS),
        Effect.forever,
        Effect.forkScoped,
      );

      const listened = (event: ZdsEvent): void => {
        switch (event.kind) {
          case 'connected': {
            const { pid } = event.peer;
            connections.set(event.connection, {
              pid,
              pod: pods.get(pid) ?? '',
              since: new Date().toISOString(),
              isSynced: false,
            });
            break;
          }
          case 'synced': {
            const connection = connections.get(event.connection);
            if (connection !== undefined) connections.set(event.connection, { ...connection, isSynced: true });
            break;
          }
          case 'disconnected':
            connections.delete(event.connection);
            removals.disconnected(event.connection);
            acknowledgements.disconnected(event.connection);
            pods.delete(event.peer.pid);
            break;
          case 'removed':
            removals.acknowledged(event.connection, event.uid);
            break;
          case 'acked':
            acknowledgements.accepted(event.uid, event.connection);
            break;
          case 'nacked': {
            // Only the newest ztunnel counts, and the server's own status tells whether this answer was from that one.
            const status = server?.status(event.uid);
            if (status?.state === 'unacked') acknowledgements.refused(event.uid, status.reason, options.isServed);
            break;
          }
          default:
        }
        onEvent(event);
        onChange();
      };

      const listen = (workloads: readonly OfferedPod[]): ReturnType<typeof ZdsServer.listen>['refusals'] => {
        const listening = ZdsServer.listen({
          path: socket,
          ...(options.listener === undefined ? {} : { listener: options.listener }),
          workloads,
          authorize: async (peer) => {
            pods.set(peer.pid, await ztunnelOf(peer, { resolver, ztunnels: () => admitted }));
            return true;
          },
        });
        server = listening.server;
        own = inodeOf(socket);
        server.events.subscribe(listened);
        return listening.refusals;
      };

      return Zds.of({
        facts: () => ({
          acknowledged: acknowledgements.acknowledged,
          refusals: acknowledgements.refusals,
          isConnected: connections.size > 0,
          acknowledgedBy: new Map(
            [...acknowledgements.acknowledgedBy].flatMap(([uid, connection]) => {
              const pid = connections.get(connection)?.pid;
              return pid === undefined ? [] : [[uid, { connection, pid }] as const];
            }),
          ),
        }),
        admit: (ztunnels) => {
          admitted = ztunnels;
        },
        offer: (workloads) =>
          Effect.try({
            try: () => {
              // This comes first, because an answer may arrive while the server takes the pods.
              acknowledgements.offer(new Map(workloads.map(({ uid, cookie }) => [uid, cookie])));
              removals.offered(new Set(workloads.map(({ uid }) => uid)), connections.keys());
              const refusals = server === undefined ? listen(workloads) : server.replace(workloads);
              return { problems: new Map(refusals.map(({ uid, error }) => [uid, error.message])) };
            },
            catch: (error) => cannotListen(socket, error),
          }),
        unacknowledgedRemovals: () => removals.size,
        connections: () => [...connections.values()],
        lostSocket: () => {
          if (!isReplaced()) return undefined;
          const what = inodeOf(socket) === undefined ? 'nothing' : 'something else';
          const remedy =
            what === 'nothing'
              ? `the agent makes it again${refusal === undefined ? '' : ` as soon as it can: ${refusal}`}`
              : 'remove what put it there (istio-cni?) and then that file, and the agent makes its own again';
          return `${what} is at the ZDS socket ${socket}, so that a ztunnel that starts does not reach the agent; ${remedy}`;
        },
        metrics: () => server?.metrics(),
      });
    }),
  );
