// The datapath of this node: loaded or adopted, filled, attached. It goes on working without its owner.
import { statSync } from 'node:fs';
import type { Netns } from '@sluice/linux';
import { applyDesired, type ApplyResult } from './apply.js';
import { attachPrograms, detachOthers, type AttachResult } from './attach.js';
import { everythingAt, type AttachPlan } from './attach-plan.js';
import { COUNTER_MAPS, readCounters, type CounterMaps, type Counters } from './counters.js';
import type { DesiredMaps } from './desired.js';
import { APPLIED_MAPS, type AppliedMap } from './entries.js';
import { HeldLinks } from './held-links.js';
import { InboundPrograms } from './inbound-programs.js';
import { INBOUND_OBJECT_PATH, linksDirectory, type MapName, type Maps } from './layout.js';
import { KeptMap } from './kept-map.js';
import { HOLDING, captureListener, capturedListener } from './listeners.js';
import { MapPins } from './map-pins.js';
import { missingParts, type MissingPart } from './missing.js';
import { NetnsLinks, type NetnsAttached } from './netns-links.js';
import { loadObject, pinFresh, type DatapathOptions, type KeptSize, type LoadedObject } from './open.js';
import { recordOf } from './records.js';
import { RoutedNetns, type RoutedDevices } from './routed-netns.js';

/** The maps that user space writes. */
export const USER_SPACE_WRITES = [...APPLIED_MAPS, 'routed_netns', 'listeners'] as const satisfies readonly MapName[];
type UsedMaps = Maps<(typeof USER_SPACE_WRITES)[number]> & CounterMaps;

/**
 * Owns the descriptors of the programs and maps; what is pinned and attached outlives it. Open it, apply what is wanted, then
 * activate it; until then the programs of an earlier agent, if there are any, go on with the maps that both share.
 */
export class Datapath {
  readonly #options: DatapathOptions;
  readonly #loaded: LoadedObject;
  readonly #maps: UsedMaps;
  readonly #mapPins: MapPins;
  readonly #held: HeldLinks;
  readonly #inbound: InboundPrograms;
  readonly #netnsLinks: NetnsLinks;
  #plan: AttachPlan = new Map();
  /** Whether a socket was given that holds connections. */
  #holds = false;
  #arePinned = false;
  /** The cookie of that socket, once it is in the map. */
  #holder: bigint | undefined;
  readonly #routed: RoutedNetns;
  readonly #kept: ReadonlyMap<string, KeptMap>;
  readonly #applied: Readonly<Record<AppliedMap, KeptMap>>;

  private constructor(options: DatapathOptions, loaded: LoadedObject) {
    const { object } = loaded;
    this.#options = options;
    this.#loaded = loaded;
    this.#maps = recordOf([...USER_SPACE_WRITES, ...COUNTER_MAPS], (name) => object.map(name));
    this.#routed = new RoutedNetns(this.#maps.routed_netns);
    this.#applied = recordOf(APPLIED_MAPS, (name) => new KeptMap(object.map(name)));
    this.#kept = new Map([...Object.entries(this.#applied), ['routed_netns', this.#routed.kept]]);
    this.#inbound = new InboundPrograms(options.inboundObjectPath ?? INBOUND_OBJECT_PATH, object.maps());
    this.#mapPins = new MapPins(object, options.pinDirectory);
    this.#held = new HeldLinks(linksDirectory(options.pinDirectory));
    this.#netnsLinks = new NetnsLinks(options.pinDirectory, this.#inbound, this.#held);
  }

  /** Loads the programs, on the maps of an earlier agent where they fit. Throws DatapathError. */
  static open(options: DatapathOptions): Datapath {
    return new Datapath(options, loadObject(options));
  }

  /** The maps that were there already. */
  get adopted(): readonly string[] {
    return this.#loaded.adopted;
  }

  /** Which capacities are not in force, until no program is attached any more. */
  get keptSizes(): readonly KeptSize[] {
    return this.#loaded.keptSizes;
  }

  /** Makes the maps what they ought to be; what cannot be written is in the result, and the rest is written. */
  apply(desired: DesiredMaps): ApplyResult {
    const { tables, ...result } = applyDesired(this.#maps, desired, this.#options.reservedCgroups);
    for (const name of APPLIED_MAPS) this.#applied[name].expect(tables[name]);
    return result;
  }

  /**
   * Pins the maps where the guard and the next agent look for them, with what the kernel has written in former ones. Returns those that
   * have no room for all of that. The attached programs go on with theirs until {@link activate}, before which the guard is opened where one
   * ought to be: it has to write the maps before anybody asks them. Idempotent. Throws BpfError.
   */
  pinMaps(): ReadonlySet<MapName> {
    if (this.#arePinned) return new Set();
    const full = this.#loaded.former.carry();
    pinFresh(this.#loaded, this.#options.pinDirectory);
    this.#mapPins.remember();
    this.#arePinned = true;
    return full;
  }

  /**
   * Puts the programs in force: attaches and pins them as planned, by default to the configured cgroup, gives the links that
   * an earlier agent pinned the new programs, those of network namespaces included, and detaches what is not in the plan.
   * If anything could not be attached, nothing is detached.
   */
  activate(plan: AttachPlan = this.everything()): AttachResult {
    this.pinMaps();
    const { former } = this.#loaded;
    // What a guard has written before the new one was there, and then what the replaced programs have.
    former.carry();
    const result = this.attach(plan);
    if (result.failures.length === 0) this.detachOthers(plan);
    this.#netnsLinks.adopt();
    former.carry();
    former.close();
    return result;
  }

  /** The plan by which every program is attached to the configured cgroup. */
  everything(): AttachPlan {
    const { cgroup } = this.#options;
    return everythingAt({ path: cgroup, id: statSync(cgroup, { bigint: true }).ino });
  }

  /**
   * Attaches what is in the plan and not attached yet or not any more, pins again what somebody has unpinned, writes again what
   * {@link setRouted} has written, and detaches nothing. Call {@link activate} first, and this before {@link apply} writes entries that need more programs. What could not be attached is
   * in the result.
   */
  attach(plan: AttachPlan): AttachResult {
    const { pinDirectory, cgroup } = this.#options;
    this.#plan = plan;
    this.#mapPins.pinAgain();
    this.#routed.kept.putRight();
    return attachPrograms(this.#loaded.object, plan, pinDirectory, cgroup, this.#held);
  }

  /**
   * What somebody has taken away or changed since the last call of {@link attach}, {@link attachNetns}, {@link apply} or {@link holdBy} put
   * it there, which put it back when they are called again. Asks the kernel: one call for each link and pin, and the maps.
   */
  missing(): readonly MissingPart[] {
    return missingParts({
      object: this.#loaded.object,
      plan: this.#plan,
      pinDirectory: this.#options.pinDirectory,
      held: this.#held,
      mapPins: this.#mapPins,
      lacksHolder: this.lacksHolder(),
      kept: this.#kept,
    });
  }

  /** Detaches what is not in the plan. Call it after {@link apply} has removed the entries that needed it. */
  detachOthers(plan: AttachPlan): readonly string[] {
    this.#plan = plan;
    return detachOthers(plan, this.#options.pinDirectory, this.#held);
  }

  /**
   * Captures what comes in to a pod, as its entry of `netns` says. With one without IN_POD, everything passes; with none, everything waits.
   * Returns `present` if it was captured already. The namespace is lent for the call. Call {@link activate} first. Throws
   * DatapathError.
   */
  attachNetns(netns: Netns): NetnsAttached {
    return this.#netnsLinks.attach(netns);
  }

  /** Does ahead what {@link attachNetns} would have to do; call it when nothing else is to be done, until it returns true. Throws DatapathError. */
  stockUp(): boolean {
    return this.#inbound.stockUp();
  }

  /**
   * Says for which devices and families a namespace has the rules and routes that bring a marked connection to ztunnel. What is
   * captured by route is refused in all others. Takes effect with the next connect(). Throws BpfError when the map is full.
   */
  setRouted(cookie: bigint, devices: RoutedDevices): void {
    this.#routed.set(cookie, devices);
  }

  /** By the namespaces' cookies; some namespaces may be gone. */
  routed(): ReadonlyMap<bigint, RoutedDevices> {
    return this.#routed.all();
  }

  /** Ends the capture of new connections. False if there was none. The namespace may be gone. */
  detachNetns(cookie: bigint): boolean {
    return this.#netnsLinks.detach(cookie);
  }

  /** The cookies of the namespaces that are attached, by this agent or an earlier one; some namespaces may be gone. */
  attachedNetns(): ReadonlySet<bigint> {
    return this.#netnsLinks.attached();
  }

  /**
   * Makes a listening socket of ztunnel the pod's listener on its port 15001 or 15006: for a socket that listened
   * before the programs were there to see it. This process has a descriptor of the socket (pidfd_getfd), which may be
   * closed afterwards. Set SO_REUSEADDR first, as the programs do for sockets that they see bind: without it
   * an application cannot bind a port that a steered connection occupies.
   */
  captureListener(cookie: bigint, port: number, socketFd: number): void {
    captureListener(this.#maps.listeners, cookie, port, socketFd);
  }

  /** The socket cookie (SO_COOKIE) of the listener that new connections are given to; undefined if there is none. */
  capturedListener(cookie: bigint, port: number): bigint | undefined {
    return capturedListener(this.#maps.listeners, cookie, port);
  }

  /**
   * Lets connections wait for ztunnel, by a socket that discards all that it gets (`silentListener` of @sluice/linux). It takes
   * the place of an earlier one. They wait as long as this process keeps it open; when it closes, they are refused.
   */
  holdBy(socketFd: number): void {
    this.#holds = true;
    captureListener(this.#maps.listeners, HOLDING.netnsCookie, HOLDING.port, socketFd);
    this.#holder = this.holder();
  }

  /** Whether the socket that {@link holdBy} was given last is not the one that holds connections. */
  lacksHolder(): boolean {
    const now = this.holder();
    return this.#holds && (now === undefined || now !== this.#holder);
  }

  /** The socket cookie (SO_COOKIE) of the socket that holds connections, of this agent or another one; undefined if there is none. */
  holder(): bigint | undefined {
    return capturedListener(this.#maps.listeners, HOLDING.netnsCookie, HOLDING.port);
  }

  counters(): Counters {
    return readCounters(this.#maps);
  }

  close(): void {
    this.#held.close();
    this.#inbound.close();
    this.#loaded.former.close();
    this.#loaded.object.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
