// How many connector sockets this process has open, as the kernel counts them.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** NETLINK_CONNECTOR of linux/netlink.h. */
const NETLINK_CONNECTOR = 11;

/** The lines of /proc/net/netlink (sk, protocol, port, ..., inode) whose inode belongs to one of our descriptors. */
export function openConnectors(): number {
  const ours = new Set(
    readdirSync('/proc/self/fd').flatMap((descriptor) => {
      try {
        return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${descriptor}`))?.[1] ?? [];
      } catch {
        return []; // the descriptor of the listing itself
      }
    }),
  );
  return readFileSync('/proc/net/netlink', 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => Number(fields[1]) === NETLINK_CONNECTOR && ours.has(fields.at(-1) ?? '')).length;
}
