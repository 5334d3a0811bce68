// The services of a node, which record their calls in order, for the tests of that order.
import type { RoutedDevices } from '@sluice/datapath';
import type { InterfaceAddress, Netns } from '@sluice/linux';
import * as Effect from 'effect/Effect';
import * as Layer from 'effect/Layer';
import {
  Enforcement,
  NodeGuard,
  EnforcementError,
  PodNetns,
  PodNetnsError,
  prepareNew,
  serve,
  Zds,
  type DoneNetns,
  type Served,
  type ServedPod,
} from '../src/index.js';

/** Cookies of namespaces for which a step fails, and whether the listeners cannot be read. */
export interface Failing {
  readonly open?: bigint;
  readonly plumb?: bigint;
  readonly attach?: bigint;
  readonly detach?: bigint;
  readonly listeners?: boolean;
}

const RULE = { kind: 'rule', name: 'IPv4 rule' } as const;
const ROUTED: RoutedDevices = new Map([[0, { ipv4: true, ipv6: true }]]);

/** In every namespace. */
const LISTENERS = new Map([
  [15001, 1n],
  [15006, 2n],
]);

/** What every namespace holds. */
const ADDRESS: InterfaceAddress = {
  ifindex: 2,
  name: 'eth0',
  family: 4,
  address: '10.0.0.2',
  prefixLength: 24,
  scope: 'global',
  deprecated: false,
  tentative: false,
};

/** A stand-in that holds nothing open; borrowers look only at its cookie. */
const lent = (cookie: bigint): Netns => ({ cookie, fd: -1 }) as unknown as Netns;

export class Recorder {
  readonly log: string[] = [];
  readonly done: DoneNetns = {
    attached: new Set(),
    plumbed: new Map(),
    disturbed: new Set(),
    begun: new Set(),
    prepared: new Set(),
    listeners: new Map(),
  };
  /** What was said of each namespace by which marked connections reach ztunnel. */
  readonly routed = new Map<bigint, RoutedDevices>();
  readonly attached = new Set<bigint>();
  readonly open = new Map<bigint, { cookie: string; uid: string; podUid: string }>();
  readonly acknowledged = new Map<string, bigint>();
  /** Namespaces in which something is in the way of a capture by route. */
  readonly obstructed = new Set<bigint>();
  /** What is there in each namespace. */
  readonly ways = new Map<bigint, RoutedDevices>();
  fails: Failing = {};
  /** The pod-level cgroups of which the guard was told last that they may be reached. */
  reachable: readonly bigint[] = [];
  /** Whether the guard cannot be told. */
  isUntold = false;
  /** Why a ztunnel that starts does not reach the agent. */
  lostSocket: () => string | undefined = () => undefined;

  async serve(pods: readonly ServedPod[], isThorough = false): Promise<Served> {
    const options = {
      isThorough,
      done: this.done,
      missing: new Set<bigint>(),
      withoutWayIn: new Set<bigint>(),
      find: () => undefined,
    };
    return Effect.runPromise(Effect.provide(serve(pods, options), this.layers()));
  }

  async prepareNew(pods: readonly ServedPod[]): Promise<boolean> {
    return Effect.runPromise(Effect.provide(prepareNew(pods, this.done), this.layers()));
  }

  take(): string[] {
    return this.log.splice(0);
  }

  layers(): Layer.Layer<Enforcement | NodeGuard | PodNetns | Zds> {
    const says = (text: string): Effect.Effect<void> => Effect.sync(() => void this.log.push(text));
    const enforcementFails = (call: EnforcementError['call']): Effect.Effect<never, EnforcementError> =>
      Effect.fail(new EnforcementError({ call, message: `${call} failed` }));
    const netnsFails = (step: PodNetnsError['step']): Effect.Effect<never, PodNetnsError> =>
      Effect.fail(new PodNetnsError({ step, message: `${step} failed` }));
    return Layer.mergeAll(
      Layer.succeed(
        Enforcement,
        Enforcement.of({
          adopted: [],
          problems: () => [],
          apply: () => Effect.as(says('maps'), { written: 0, removed: 0, failures: [], wanted: {} }),
          stockUp: Effect.succeed(true),
          pinMaps: Effect.die('not asked here'),
          activate: () => Effect.die('not asked here'),
          attach: () => Effect.as(says('attach programs'), { attached: [], updated: [], failures: [] }),
          detachOthers: () => says('detach programs'),
          missing: Effect.succeed([]),
          counters: Effect.die('not asked here'),
          attachNetns: ({ cookie }) => {
            if (cookie === this.fails.attach) return enforcementFails('attachNetns');
            this.attached.add(cookie);
            return says(`attach ${cookie}`);
          },
          detachNetns: (cookie) => {
            if (cookie === this.fails.detach) return enforcementFails('detachNetns');
            this.attached.delete(cookie);
            return says(`detach ${cookie}`);
          },
          attachedNetns: Effect.sync(() => new Set(this.attached)),
          setRouted: (cookie, devices) => {
            if (devices.size === 0) return this.routed.delete(cookie) ? says(`unroute ${cookie}`) : Effect.void;
            this.routed.set(cookie, devices);
            return says(`route ${cookie}`);
          },
          routed: () => new Map(this.routed),
          captureListener: () => Effect.void,
          listeners: () => (this.fails.listeners ? enforcementFails('listeners') : Effect.succeed(LISTENERS)),
          missingListeners: () => Effect.succeed([]),
        }),
      ),
      Layer.succeed(
        NodeGuard,
        NodeGuard.of({
          begin: () => Effect.die('not asked here'),
          keep: ({ reachable }) =>
            Effect.sync(() => {
              this.reachable = reachable.map(([id]) => id);
              return { problems: [], reachable: new Set(), isUntold: this.isUntold };
            }),
          disturbed: Effect.succeed([]),
          attached: () => [],
          letGo: () => Effect.die('not asked here'),
          listen: () => {},
        }),
      ),
      Layer.succeed(
        PodNetns,
        PodNetns.of({
          changed: () => this.open,
          get: (cookie) => (this.open.has(cookie) ? lent(cookie) : undefined),
          lend: () => {
            throw new Error('not asked here');
          },
          closeUnused: () => Effect.void,
          open: ({ cookie, uid, podUid }) => {
            if (cookie === this.fails.open) return netnsFails('open');
            this.open.set(cookie, { cookie: String(cookie), uid, podUid });
            return Effect.succeed(lent(cookie));
          },
          apply: (cookie, { by }) => {
            if (cookie === this.fails.plumb) return netnsFails('apply');
            this.ways.set(cookie, by === 'route' && !this.obstructed.has(cookie) ? ROUTED : new Map());
            const applied = { changed: ['IPv4 rule'], repaired: [RULE], inTheWay: undefined, routed: new Map() };
            return Effect.as(says(`plumb ${cookie}`), applied);
          },
          routed: (cookie) => this.ways.get(cookie) ?? new Map(),
          inTheWay: () => Effect.succeed(undefined),
          hasCaptureRules: () => Effect.succeed(false),
          addresses: () => Effect.succeed([ADDRESS]),
          switchedOff: () => Effect.succeed([]),
          listen: () => {},
          restore: (cookie) => {
            this.open.delete(cookie);
            return says(`restore ${cookie}`);
          },
        }),
      ),
      Layer.succeed(
        Zds,
        Zds.of({
          facts: () => ({
            acknowledged: this.acknowledged,
            refusals: new Map(),
            isConnected: true,
            acknowledgedBy: new Map(),
          }),
          admit: () => {},
          offer: (pods) =>
            Effect.as(
              says(`offer ${pods.map(({ uid, netns }) => (netns === 'unknown' ? `${uid}?` : uid)).join(' ')}`.trim()),
              { problems: new Map() },
            ),
          unacknowledgedRemovals: () => 0,
          connections: () => [],
          lostSocket: () => this.lostSocket(),
          metrics: () => undefined,
        }),
      ),
    );
  }
}
