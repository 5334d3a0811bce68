// The datapath as a service of the agent. The end of the scope closes it and leaves it in force.
import {
  Datapath,
  ZTUNNEL_INBOUND_PORT,
  ZTUNNEL_OUTBOUND_PORT,
  type ApplyResult,
  type AttachPlan,
  type AttachResult,
  type Counters,
  type DesiredMaps,
  type KeptSize,
  type MissingPart,
  type RoutedDevices,
} from '@sluice/datapath';
import type { Netns } from '@sluice/linux';
import * as Context from 'effect/Context';
import * as Duration from 'effect/Duration';
import * as Effect from 'effect/Effect';
import * as Layer from 'effect/Layer';
import * as Schema from 'effect/Schema';
import type { AgentConfig } from '../config/config.js';
import { pinDirectory } from '../config/pin-directory.js';
import { RESERVED_CGROUPS, withReserve } from '../enrolment/room.js';
import { messageOf } from '../failure/message-of.js';
import { StartupError } from '../failure/startup-error.js';
import { holdAgain, holdBy, type HoldingSocket } from './holding-socket.js';

/** A call of the datapath that failed as a whole. */
export class EnforcementError extends Schema.TaggedError<EnforcementError>()('EnforcementError', {
  call: Schema.Literals([
    'apply',
    'pinMaps',
    'activate',
    'attach',
    'detachOthers',
    'counters',
    'stockUp',
    'attachNetns',
    'detachNetns',
    'attachedNetns',
    'setRouted',
    'captureListener',
    'listeners',
    'missingListeners',
    'missing',
  ]),
  message: Schema.String,
}) {}

export class Enforcement extends Context.Service<
  Enforcement,
  {
    /** Names of the maps that an earlier agent left. */
    readonly adopted: readonly string[];
    /** What is amiss, in words: why connections that have to wait are not held, and which capacities are not in force. */
    readonly problems: () => readonly string[];
    readonly apply: (desired: DesiredMaps) => Effect.Effect<ApplyResult, EnforcementError>;
    /** Pins the maps, so that the guard can be opened before the programs ask what it knows; logs which of them cannot carry over all that it knew. */
    readonly pinMaps: Effect.Effect<void, EnforcementError>;
    /** Puts the programs in force, once, after the maps have been filled. */
    readonly activate: (plan: AttachPlan) => Effect.Effect<AttachResult, EnforcementError>;
    /** Attaches what a plan has in addition, before the maps say that it is needed. */
    readonly attach: (plan: AttachPlan) => Effect.Effect<AttachResult, EnforcementError>;
    /** Detaches what a plan does not have, after the maps have stopped needing it. */
    readonly detachOthers: (plan: AttachPlan) => Effect.Effect<void, EnforcementError>;
    /** What somebody has taken away since it was attached or pinned; {@link attach} and {@link attachNetns} put it back. */
    readonly missing: Effect.Effect<readonly MissingPart[], EnforcementError>;
    readonly counters: Effect.Effect<Counters, EnforcementError>;
    /** Does ahead, in some 5 ms, what the next {@link attachNetns} would have to do. Says whether enough is done. */
    readonly stockUp: Effect.Effect<boolean, EnforcementError>;
    /** Attaches the inbound program to a network namespace, or updates the one that an earlier agent attached. */
    readonly attachNetns: (netns: Netns) => Effect.Effect<void, EnforcementError>;
    readonly detachNetns: (cookie: bigint) => Effect.Effect<void, EnforcementError>;
    /** Cookies of the namespaces to which this agent or an earlier one attached the inbound program. */
    readonly attachedNetns: Effect.Effect<ReadonlySet<bigint>, EnforcementError>;
    /** Says by which ways marked connections of a namespace reach ztunnel; what is captured by route is refused in all others. */
    readonly setRouted: (cookie: bigint, devices: RoutedDevices) => Effect.Effect<void, EnforcementError>;
    /** What was said last, by this agent or an earlier one. */
    readonly routed: () => ReadonlyMap<bigint, RoutedDevices>;
    /** Captures a listening socket of ztunnel, so that connections are steered to it. */
    readonly captureListener: (cookie: bigint, port: number, socketFd: number) => Effect.Effect<void, EnforcementError>;
    /** The captured listeners of ztunnel in a namespace: SO_COOKIE by port. */
    readonly listeners: (cookie: bigint) => Effect.Effect<ReadonlyMap<number, bigint>, EnforcementError>;
    /** The ports of ztunnel that have no captured listener in a namespace. */
    readonly missingListeners: (cookie: bigint) => Effect.Effect<readonly number[], EnforcementError>;
  }
>()('@sluice/ambient-agent/node/Enforcement') {}

/** The ports at which ztunnel listens for connections that are steered to it. */
export const LISTENER_PORTS = [ZTUNNEL_OUTBOUND_PORT, ZTUNNEL_INBOUND_PORT];

const saysKept = ({ map, capacity, wanted, maxEntries }: KeptSize): string =>
  `${map} has room for ${maxEntries} entries, although capacities.${capacity} is ${wanted}: the programs of an earlier agent use it. ` +
  'The capacity is in force when the node has restarted, or an agent starts after `sluice cleanup`';

/** @param cgroup the one that all places of plans are in */
export const datapathEnforcement = (
  config: AgentConfig,
  cgroup: string,
  holding?: HoldingSocket,
): Layer.Layer<Enforcement, StartupError> =>
  Layer.effect(
    Enforcement,
    Effect.gen(function* () {
      const datapath = yield* Effect.acquireRelease(
        Effect.try({
          try: () =>
            Datapath.open({
              pinDirectory: pinDirectory(config.paths.bpffs),
              cgroup,
              capacities: withReserve(config.capacities),
              reservedCgroups: RESERVED_CGROUPS,
              longestHoldMs: Duration.toMillis(config.policy.holdLimit),
            }),
          catch: (error) => new StartupError({ check: 'datapath', message: messageOf(error) }),
        }),
        (opened) => Effect.sync(() => opened.close()),
      );
      let whyNotHeld = yield* holdBy(datapath, holding);
      const attempt = <A>(call: EnforcementError['call'], run: () => A): Effect.Effect<A, EnforcementError> =>
        Effect.try({ try: run, catch: (error) => new EnforcementError({ call, message: messageOf(error) }) });
      return Enforcement.of({
        adopted: datapath.adopted,
        problems: () => [...(whyNotHeld === undefined ? [] : [whyNotHeld]), ...datapath.keptSizes.map(saysKept)],
        apply: (desired) => attempt('apply', () => datapath.apply(desired)),
        pinMaps: attempt('pinMaps', () => datapath.pinMaps()).pipe(
          Effect.flatMap((full) =>
            full.size === 0
              ? Effect.void
              : Effect.logWarning('maps are too small for what the former ones have, so that some of it is lost', {
                  maps: [...full],
                }),
          ),
        ),
        activate: (plan) => attempt('activate', () => datapath.activate(plan)),
        attach: (plan) =>
          Effect.andThen(
            Effect.map(holdAgain(datapath, holding), (why) => {
              whyNotHeld = why;
            }),
            attempt('attach', () => datapath.attach(plan)),
          ),
        detachOthers: (plan) => attempt('detachOthers', () => void datapath.detachOthers(plan)),
        missing: attempt('missing', () => datapath.missing()),
        counters: attempt('counters', () => datapath.counters()),
        stockUp: attempt('stockUp', () => datapath.stockUp()),
        attachNetns: (netns) => attempt('attachNetns', () => void datapath.attachNetns(netns)),
        detachNetns: (cookie) => attempt('detachNetns', () => void datapath.detachNetns(cookie)),
        attachedNetns: attempt('attachedNetns', () => datapath.attachedNetns()),
        setRouted: (cookie, devices) => attempt('setRouted', () => datapath.setRouted(cookie, devices)),
        routed: () => datapath.routed(),
        captureListener: (cookie, port, fd) =>
          attempt('captureListener', () => datapath.captureListener(cookie, port, fd)),
        listeners: (cookie) =>
          attempt(
            'listeners',
            () =>
              new Map(
                LISTENER_PORTS.flatMap((port) => {
                  const socket = datapath.capturedListener(cookie, port);
                  return socket === undefined ? [] : [[port, socket] as const];
                }),
              ),
          ),
        missingListeners: (cookie) =>
          attempt('missingListeners', () =>
            LISTENER_PORTS.filter((port) => datapath.capturedListener(cookie, port) === undefined),
          ),
      });
    }),
  );
