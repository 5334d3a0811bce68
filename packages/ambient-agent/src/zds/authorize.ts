// Which process may connect to the ZDS socket: only one in the cgroup of a ztunnel pod that the discovery found, because it
// is given the network namespaces of pods.
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CgroupResolver } from '@sluice/cgroup-resolver';
import type { ZdsPeer } from '@sluice/zds';

export interface ZtunnelPeers {
  /** The ztunnel pods that may connect at this moment: their names for people, by their UIDs in cgroupfs. */
  readonly ztunnels: () => ReadonlyMap<string, string>;
  readonly resolver: Pick<CgroupResolver, 'resolveProcess'>;
  /** How long to go on looking, because a ztunnel may connect before the inventory knows its pod. */
  readonly patienceMs?: number;
}

/** Shorter than the ZDS server's deadline, after which that refuses by itself. */
const PATIENCE_MS = 4000;
const STEP_MS = 100;

/** Whether the process that connected still runs: the kernel shows -1 as the pid of one that has ended. */
function isAlive(pidfd: number): boolean {
  try {
    const pid = /^Pid:\s*(-?\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${pidfd}`, 'utf8'))?.[1];
    return Number(pid) > 0;
  } catch {
    return false;
  }
}

/** The name of the ztunnel pod to which a peer belongs. Rejects with what the peer is instead. */
export async function ztunnelOf(peer: ZdsPeer, options: ZtunnelPeers): Promise<string> {
  const { pid, pidfd } = peer;
  if (pid === 0) throw new Error("its process is not visible; run the agent in the node's pid namespace");
  const end = performance.now() + (options.patienceMs ?? PATIENCE_MS);
  for (;;) {
    const place = options.resolver.resolveProcess(pid);
    // This comes after the look, so that the look was at this process and not at a later one with its pid.
    if (pidfd === undefined || !isAlive(pidfd)) throw new Error(`process ${pid} has ended`);
    const name = place.kind === 'pod' ? options.ztunnels().get(place.podUid) : undefined;
    if (name !== undefined) return name;
    if (performance.now() >= end) {
      const where = place.kind === 'pod' ? `in pod ${place.podUid}` : 'in no pod';
      throw new Error(`process ${pid} is ${where}, and in no ztunnel pod that is known`);
    }
    await sleep(STEP_MS);
  }
}
