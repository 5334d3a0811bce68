// Where a marked connection reaches ztunnel, as connect() asks for it: network namespaces, and devices in them.
import type { BpfMap } from '@sluice/libbpf';
import { RoutedFamily, maps } from './generated/maps.js';
import { numberOf, wordsOf } from './entries.js';
import { KeptMap, readTable } from './kept-map.js';

/** The families whose rules and routes are there. */
export interface RoutedFamilies {
  readonly ipv4: boolean;
  readonly ipv6: boolean;
}

/** By the index of the device that a socket is bound to; 0 for sockets that are bound to none. */
export type RoutedDevices = ReadonlyMap<number, RoutedFamilies>;

/** ROUTED_COOKIE_SHIFT of bpf/maps.h: a value has the cookie above the bits of enum routed_family. */
const COOKIE_SHIFT = 2n;
const FAMILIES = (1n << COOKIE_SHIFT) - 1n;

/** Owns the entries of the map. */
export class RoutedNetns {
  readonly kept: KeptMap;
  readonly #present: Map<bigint, Map<number, number>>;

  constructor(map: BpfMap) {
    this.kept = new KeptMap(map);
    this.kept.expect(readTable(map));
    this.#present = present(map);
  }

  /** Exactly these devices count for the namespace from now on. Throws BpfError when the map is full (E2BIG). */
  set(netnsCookie: bigint, devices: RoutedDevices): void {
    const known = this.#present.get(netnsCookie) ?? new Map<number, number>();
    this.#present.set(netnsCookie, known);
    for (const ifindex of known.keys())
      if (bitsOf(devices.get(ifindex)) === 0) this.#delete(netnsCookie, known, ifindex);
    for (const [ifindex, families] of devices) {
      const bits = bitsOf(families);
      if (bits === 0 || known.get(ifindex) === bits) continue;
      this.kept.put(
        keyOf(netnsCookie, ifindex),
        maps.routed_netns.encodeValue((netnsCookie << COOKIE_SHIFT) | BigInt(bits)),
      );
      known.set(ifindex, bits);
    }
    if (known.size === 0) this.#present.delete(netnsCookie);
  }

  all(): Map<bigint, RoutedDevices> {
    return new Map([...this.#present].map(([cookie, devices]) => [cookie, new Map(namedFamilies(devices))]));
  }

  #delete(netnsCookie: bigint, known: Map<number, number>, ifindex: number): void {
    this.kept.remove(keyOf(netnsCookie, ifindex));
    known.delete(ifindex);
  }
}

/** By the namespaces' cookies. */
export function readRouted(map: BpfMap): Map<bigint, RoutedDevices> {
  return new Map([...present(map)].map(([cookie, devices]) => [cookie, new Map(namedFamilies(devices))]));
}

function present(map: BpfMap): Map<bigint, Map<number, number>> {
  const result = new Map<bigint, Map<number, number>>();
  for (const [key, value] of map.entries()) {
    const { netns, ifindex } = maps.routed_netns.decodeKey(key);
    const cookie = numberOf(netns);
    const devices = result.get(cookie) ?? new Map<number, number>();
    result.set(cookie, devices.set(ifindex, Number(maps.routed_netns.decodeValue(value) & FAMILIES)));
  }
  return result;
}

const keyOf = (netnsCookie: bigint, ifindex: number): Buffer =>
  maps.routed_netns.encodeKey({ netns: wordsOf(netnsCookie), ifindex });

const bitsOf = (families: RoutedFamilies | undefined): number =>
  (families?.ipv4 === true ? RoutedFamily.IPV4 : 0) | (families?.ipv6 === true ? RoutedFamily.IPV6 : 0);

const namedFamilies = (devices: ReadonlyMap<number, number>): [number, RoutedFamilies][] =>
  [...devices].map(([ifindex, bits]) => [
    ifindex,
    { ipv4: (bits & RoutedFamily.IPV4) !== 0, ipv6: (bits & RoutedFamily.IPV6) !== 0 },
  ]);
