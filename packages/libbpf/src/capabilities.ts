// Which of the capabilities that BPF needs this process has: only to word errors, never to decide anything.
import { readFileSync } from 'node:fs';

/** Bit numbers of linux/capability.h. */
const CAP_NET_ADMIN = 12n;
const CAP_SYS_ADMIN = 21n;
const CAP_BPF = 39n;

/** The names of the missing ones; empty when all are there, when CAP_SYS_ADMIN stands for them, or when unknown. */
export function missingCapabilities(): string[] {
  let effective: bigint;
  try {
    const line = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'));
    if (line?.[1] === undefined) return [];
    effective = BigInt(`0x${line[1]}`);
  } catch {
    return [];
  }
  const has = (bit: bigint): boolean => ((effective >> bit) & 1n) === 1n;
  const missing: string[] = [];
  if (!has(CAP_BPF) && !has(CAP_SYS_ADMIN)) missing.push('CAP_BPF');
  if (!has(CAP_NET_ADMIN)) missing.push('CAP_NET_ADMIN');
  return missing;
}
