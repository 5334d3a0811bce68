// Who may speak at the ZDS socket: only a process in the cgroup of a ztunnel pod that the discovery found. Whoever speaks
// there is handed the network namespaces of pods.
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CgroupResolver } from '@sluice/cgroup-resolver';
import type { ZdsPeer } from '@sluice/zds';

export interface ZtunnelPeers {
  /** Names in cgroupfs of the ztunnel pods that may speak at this moment, and their names for people. */
  readonly ztunnels: () => ReadonlyMap<string, string>;
  readonly resolver: Pick<CgroupResolver, 'resolveProcess'>;
  /** How long to go on looking: a ztunnel may speak before the inventory has heard of its pod. */
  readonly patienceMs?: number;
}

/** Less than the ZDS server's deadline, after which it refuses by itself. */
const PATIENCE_MS = 4000;
const STEP_MS = 100;

/** Whether the process is still the one that connected: the kernel writes -1 for the pid of one that has ended. */
function isAlive(pidfd: number): boolean {
  try {
    const pid = /^Pid:\s*(-?\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${pidfd}`, 'utf8'))?.[1];
    return Number(pid) > 0;
  } catch {
    return false;
  }
}

/** The ztunnel pod that a peer belongs to, by name; fails with what it is instead. */
export async function ztunnelOf(peer: ZdsPeer, options: ZtunnelPeers): Promise<string> {
  const { pid, pidfd } = peer;
  if (pid === 0) throw new Error("its process is not visible; run the agent in the node's pid namespace");
  const end = performance.now() + (options.patienceMs ?? PATIENCE_MS);
  for (;;) {
    const place = options.resolver.resolveProcess(pid);
    // After the look, so that what was looked at was that process.
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
