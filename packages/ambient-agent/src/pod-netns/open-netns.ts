// One open network namespace of a pod, as long as the agent has something to do with it: what was done in it, what it holds, and
// a watch that notices when that changes.
import { isDeepStrictEqual } from 'node:util';
import type { RoutedDevices } from '@sluice/datapath';
import { watchNetns, type InterfaceAddress, type Netns, type NetnsChange } from '@sluice/linux';
import {
  captureObstacle,
  ensureState,
  missingRules,
  removeState,
  switchedOff,
  wantedParts,
  type EnsuredState,
  type StateMemory,
  type WantedState,
} from './netns-state.js';
import { FAMILIES, partsOf, type Part, type WantedParts } from './parts.js';
import { seeRules } from './seen-rules.js';

/** Who hears of the changes of namespaces. Must not throw. */
export interface NetnsListener {
  /**
   * Marked connections of this namespace may go past ztunnel from now on, or fail. Called in the same turn in which it is
   * noticed, and before Sluice removes a rule itself.
   */
  readonly lost: (cookie: bigint) => void;
  /** Something was changed about which a pass has to do something, in this namespace only. */
  readonly changed: (cookie: bigint) => void;
}

export interface AppliedState extends EnsuredState {
  /** Those of the changed parts that were there after the last time: somebody else has taken them away. */
  readonly repaired: readonly Pick<Part, 'kind' | 'name'>[];
}

/** What the agent wants in every namespace. */
export type NetnsSettings = Pick<WantedState, 'ipv6' | 'procPath'>;

const NOWHERE: RoutedDevices = new Map();

export class OpenNetns {
  readonly netns: Netns;
  readonly #settings: NetnsSettings;
  readonly #listener: NetnsListener;
  #watch: Disposable | undefined;
  #addresses: readonly InterfaceAddress[] | undefined;
  /** Undefined if it was not looked for, or not since something changed. */
  #obstacle: { readonly words: string | undefined } | undefined;
  #applied: WantedParts | undefined;
  #routed = NOWHERE;

  /** Owns the namespace from now on. */
  constructor(netns: Netns, settings: NetnsSettings, listener: NetnsListener) {
    this.netns = netns;
    this.#settings = settings;
    this.#listener = listener;
  }

  /** The ways whose marked connections reach ztunnel, or fail for want of an address. */
  get routed(): RoutedDevices {
    return this.#routed;
  }

  /** Those that it has now. @throws SystemCallError */
  addresses(): readonly InterfaceAddress[] {
    this.#listen();
    return (this.#addresses ??= this.netns.addresses());
  }

  /** Why the pod cannot be captured by route, in words. @throws SystemCallError */
  inTheWay(): string | undefined {
    this.#listen();
    this.#obstacle ??= { words: captureObstacle(seeRules(this.netns), this.#families()) };
    return this.#obstacle.words;
  }

  /** The sysctls that {@link apply} has turned on and somebody else off: of these, the kernel tells nobody. @throws SystemCallError */
  switchedOff(): readonly string[] {
    return this.#applied === undefined ? [] : switchedOff(this.netns, this.#applied, this.#settings);
  }

  /** Throws what {@link ensureState} throws; what is there by then counts. */
  apply(capture: WantedState['capture'], memory: StateMemory | undefined): AppliedState {
    const before = partsOf(this.#applied ?? { answers: [], capture: [] });
    const wanted = wantedParts(this.netns, { ...this.#settings, capture }, this.addresses());
    this.#applied = wanted;
    const beforeUncapture = (): void => this.#lose();
    try {
      const ensured = ensureState(this.netns, wanted, { ...this.#settings, memory, beforeUncapture });
      if (capture.by === 'route') this.#obstacle = { words: ensured.inTheWay };
      this.#applied = ensured.applied;
      this.#routed = ensured.routed;
      const kept = partsOf(ensured.applied).filter((part) => before.some((one) => isDeepStrictEqual(one, part)));
      const repaired = kept.filter(({ name }) => ensured.changed.includes(name));
      return { ...ensured, repaired: repaired.map(({ kind, name }) => ({ kind, name })) };
    } catch (error) {
      this.#look();
      throw error;
    }
  }

  /** @throws SystemCallError */
  restore(memory: StateMemory | undefined): void {
    this.#applied = undefined;
    this.#lose();
    removeState(this.netns, { ...this.#settings, memory });
  }

  /** Idempotent. */
  close(): void {
    this.#watch?.[Symbol.dispose]();
    this.#watch = undefined;
    this.netns.close();
  }

  /** Comes before anything is kept, so that no change after the look is missed. */
  #listen(): void {
    this.#watch ??= watchNetns(this.netns, (changes) => this.#onChanges(changes));
  }

  #onChanges(changes: ReadonlySet<NetnsChange>): void {
    const before = this.#addresses;
    const areAddresses = changes.has('addresses') || changes.has('lost');
    if (areAddresses) this.#addresses = undefined;
    // A look, whatever has changed: the kernel says nothing when it takes the source from an IPv6 route with the address.
    const isDisturbed = this.#look();
    // A device that has come or gone up may lack its route, and the parts that are there do not show it.
    const isRedone = changes.has('devices') || changes.has('lost');
    if (isDisturbed || isRedone || (areAddresses && this.#hasOther(before))) this.#listener.changed(this.netns.cookie);
  }

  /** Most notifications about addresses only renew their lifetimes, as routers do all the time. */
  #hasOther(before: readonly InterfaceAddress[] | undefined): boolean {
    try {
      return !isDeepStrictEqual(before, this.addresses());
    } catch {
      return true;
    }
  }

  /** Returns whether there is something to be done. */
  #look(): boolean {
    const before = this.#obstacle;
    this.#obstacle = undefined;
    try {
      const seen = seeRules(this.netns);
      const missing = this.#applied === undefined ? [] : missingRules(seen, this.#applied);
      const words = captureObstacle(seen, this.#families());
      const isCaptured = words === undefined && !missing.some(({ half }) => half === 'capture') && this.#hasSources();
      if (!isCaptured) this.#lose();
      if (before !== undefined) this.#obstacle = { words };
      return missing.length > 0 || (before !== undefined && before.words !== words);
    } catch {
      // The next pass looks again, and reports why it cannot.
      this.#lose();
      return true;
    }
  }

  /** IPv4 routes keep a source that the namespace does not hold any more; answers to it would leave the namespace. */
  #hasSources(): boolean {
    const sources = (this.#applied?.capture ?? []).flatMap(({ ways }) => ways.map(({ source }) => source));
    if (sources.length === 0) return true;
    const held = new Set(this.addresses().flatMap(({ address, tentative }) => (tentative ? [] : [address])));
    return sources.every((source) => held.has(source));
  }

  #lose(): void {
    const wasRouted = this.#routed.size > 0;
    this.#routed = NOWHERE;
    if (wasRouted) this.#listener.lost(this.netns.cookie);
  }

  #families(): typeof FAMILIES {
    return this.#settings.ipv6 ? FAMILIES : FAMILIES.filter((family) => family !== 6);
  }
}
