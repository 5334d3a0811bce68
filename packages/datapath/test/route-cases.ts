// What the tests of the capture by route share.
import { readFileSync } from 'node:fs';
import type { Namespace } from '@sluice/testbed';

export const FAMILIES = ['ip4', 'ip6'] as const;
export type Family = (typeof FAMILIES)[number];

/** Matches an endpoint at this address. */
export function addressOf(ip: string): RegExp {
  const text = (ip.includes(':') ? `[${ip}]` : ip).replaceAll(/[.[\]]/g, String.raw`\$&`);
  return new RegExp(`^${text}:\\d+$`);
}

/** A counter of TCP in /proc/net/snmp, both families; of the namespace in which a process is. */
export function tcpCounter(pid: number, counter: string): number {
  const lines = readFileSync(`/proc/${pid}/net/snmp`, 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('Tcp:'));
  const [names = [], values = []] = lines.map((line) => line.split(' '));
  return Number(values[names.indexOf(counter)]);
}

/** How many TCP segments a namespace has received so far. */
export const segmentsReceived = async ({ pid }: Namespace): Promise<number> => tcpCounter(pid, 'InSegs');
