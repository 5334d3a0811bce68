// Writes the proc connector's wire format independently of the parser under test (linux/cn_proc.h).
import { endianness } from 'node:os';

const LITTLE = endianness() === 'LE';

export interface WireEvent {
  kind: number;
  cpu?: number;
  seq?: number;
  timestampNs?: bigint;
  /** Six 32-bit words of event_data. */
  words?: readonly number[];
}

export interface WireOverrides {
  nlmsgLen?: number;
  nlmsgType?: number;
  idx?: number;
  val?: number;
  len?: number;
}

const NLMSG_HEADER = 16;
const CN_HEADER = 20;
const EVENT_BYTES = 40;
/** NLMSG_DONE of linux/netlink.h: the type of every connector message. */
const NLMSG_DONE = 3;

export const WIRE_BYTES = NLMSG_HEADER + CN_HEADER + EVENT_BYTES;

/** One message as the kernel sends it, except for what `overrides` says. */
export function wire(event: WireEvent, overrides: WireOverrides = {}): Uint8Array {
  const bytes = new Uint8Array(WIRE_BYTES);
  const view = new DataView(bytes.buffer);
  const u32 = (at: number, value: number): void => view.setUint32(at, value >>> 0, LITTLE);
  u32(0, overrides.nlmsgLen ?? WIRE_BYTES);
  view.setUint16(4, overrides.nlmsgType ?? NLMSG_DONE, LITTLE);
  u32(16, overrides.idx ?? 1);
  u32(20, overrides.val ?? 1);
  u32(24, event.seq ?? 0);
  view.setUint16(32, overrides.len ?? EVENT_BYTES, LITTLE);
  u32(36, event.kind);
  u32(40, event.cpu ?? 0);
  view.setBigUint64(44, event.timestampNs ?? 0n, LITTLE);
  (event.words ?? []).forEach((word, index) => u32(52 + 4 * index, word));
  return bytes;
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** The sixteen bytes of a comm as four words. */
export function commWords(text: string): number[] {
  const bytes = new Uint8Array(16);
  bytes.set(new TextEncoder().encode(text).subarray(0, 16));
  const view = new DataView(bytes.buffer);
  return [0, 4, 8, 12].map((at) => view.getUint32(at, LITTLE));
}
