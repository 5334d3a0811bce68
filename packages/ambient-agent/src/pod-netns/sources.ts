// Which addresses a pod's captured connections come from, and by which ways they arrive.
import { canonicalAddress } from '@sluice/cgroup-resolver';
import type { InterfaceAddress, NetworkDevice } from '@sluice/linux';
import { UNBOUND, type CaptureWay, type Family } from './parts.js';

/**
 * The address that the pod would use: the first of its IPs that the namespace holds, else the first global address that is not
 * deprecated. Undefined if there is none. Pure.
 */
export function sourceOf(
  family: Family,
  addresses: readonly InterfaceAddress[],
  podIps: readonly string[],
): string | undefined {
  const usable = addresses.filter((one) => one.family === family && !one.tentative);
  const held = new Set(usable.map(({ address }) => address));
  const podIp = podIps.map(canonicalAddress).find((ip) => ip !== undefined && held.has(ip));
  return podIp ?? usable.find(({ scope, deprecated }) => scope === 'global' && !deprecated)?.address;
}

/** The ways of a family, that of the loopback first; none without a usable address. Pure. */
export function waysOf(
  family: Family,
  addresses: readonly InterfaceAddress[],
  podIps: readonly string[],
  devices: readonly NetworkDevice[],
): readonly CaptureWay[] {
  const source = sourceOf(family, addresses, podIps);
  if (source === undefined) return [];
  const bound = devices.filter(({ ifindex }) => ifindex !== LOOPBACK_INDEX).toSorted((a, b) => a.ifindex - b.ifindex);
  return [
    { device: 'lo', ifindex: UNBOUND, source },
    ...bound.flatMap(({ ifindex, name: device }): CaptureWay[] => {
      const held = addresses.filter((one) => one.ifindex === ifindex);
      const own = sourceOf(family, held, podIps);
      if (own !== undefined) return [{ device, ifindex, source: own }];
      return family === 4 ? [{ device, ifindex, source, isSealed: true }] : [];
    }),
  ];
}

/** LOOPBACK_IFINDEX of the kernel's net/flow.h: in every namespace the loopback is the first device. */
const LOOPBACK_INDEX = 1;
