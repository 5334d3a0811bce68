// ztunnel's listening sockets in the pods' network namespaces, and the socket that holds connections, as sk_lookup finds them.
import { BpfMap } from '@sluice/libbpf';
import { maps } from './generated/maps.js';
import { mapPin } from './layout.js';
import { openIfPinned } from './pins.js';

/** The kernel refuses sockets that no socket map takes; the caller has to know that it is a TCP socket that listens. */
export function captureListener(listeners: BpfMap, netnsCookie: bigint, port: number, socketFd: number): void {
  listeners.update(keyOf(netnsCookie, port), maps.listeners.encodeValue(BigInt(socketFd)));
}

/** The cookie of the socket; undefined if there is none. */
export function capturedListener(listeners: BpfMap, netnsCookie: bigint, port: number): bigint | undefined {
  const value = listeners.lookup(keyOf(netnsCookie, port));
  return value === undefined ? undefined : maps.listeners.decodeValue(value);
}

/** The key of the socket that holds connections: no namespace has the cookie 0. HOLDING_NETNS and HOLDING_PORT of bpf/maps.h. */
export const HOLDING = { netnsCookie: 0n, port: 0 } as const;

/** Holds connections by a socket of this process from now on, if a datapath is pinned there; false if there is none. */
export function holdByPinned(pinDirectory: string, socketFd: number): boolean {
  using listeners = openIfPinned(mapPin(pinDirectory, 'listeners'), (pin) => BpfMap.openPinned(pin));
  if (listeners === undefined) return false;
  captureListener(listeners, HOLDING.netnsCookie, HOLDING.port, socketFd);
  return true;
}

const keyOf = (netnsCookie: bigint, port: number): Buffer =>
  maps.listeners.encodeKey({ netnsCookie, port: BigInt(port) });
