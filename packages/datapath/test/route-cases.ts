// What the tests of the capture by route share.
import type { Namespace } from '@sluice/testbed';

export const FAMILIES = ['ip4', 'ip6'] as const;
export type Family = (typeof FAMILIES)[number];

/** Matches an endpoint at this address. */
export function addressOf(ip: string): RegExp {
  const text = (ip.includes(':') ? `[${ip}]` : ip).replaceAll(/[.[\]]/g, String.raw`\$&`);
  return new RegExp(`^${text}:\\d+$`);
}

/** How many TCP segments a namespace has received so far (InSegs of /proc/net/snmp, both families). */
export async function segmentsReceived(netns: Namespace): Promise<number> {
  const lines = (await netns.run(['cat', '/proc/self/net/snmp'])).filter((line) => line.startsWith('Tcp:'));
  const [names = [], values = []] = lines.map((line) => line.split(' '));
  return Number(values[names.indexOf('InSegs')]);
}
