// Whether a program of somebody else decides about the connections of pods after Sluice's. A CNI's socket load balancer would
// translate a destination that stays unchanged, so that ztunnel would see the backend instead of the service.
import { dirname } from 'node:path';
import { foreignConnectPrograms, type ForeignProgram } from '@sluice/datapath';
import { messageOf } from '../failure/message-of.js';

function describe({ id, name, hook, cgroup }: ForeignProgram): string {
  const place = cgroup === undefined ? 'a cgroup above those that the agent sees' : `cgroup ${cgroup}`;
  return `the program ${name === '' ? 'without a name' : name} (id ${id}, ${hook}) at ${place}`;
}

/**
 * A sentence about the first of them, or about why they cannot be seen; undefined if there is none. Asks the kernel twice for each
 * directory that has pods in it, of which a node has three at most.
 * @param pods directories of pod-level cgroups; what is attached to these themselves runs before Sluice's programs
 */
export function foreignConnect(pinDirectory: string, pods: Iterable<string>): string | undefined {
  let found: readonly ForeignProgram[];
  try {
    found = foreignConnectPrograms(pinDirectory, new Set([...pods].map((path) => dirname(path))));
  } catch (error) {
    return `whether a program of somebody else changes destinations after Sluice cannot be seen: ${messageOf(error)}`;
  }
  const [first, ...others] = found;
  if (first === undefined) return undefined;
  const more = others.length === 0 ? '' : `, with ${others.length} more like it,`;
  return `${describe(first)}${more} may change destinations after Sluice; switch off the load balancer that it belongs to (docs/platforms.md), or detach it`;
}
