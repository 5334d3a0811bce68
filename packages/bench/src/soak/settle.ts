// What has to be so when nothing changes any more: the state of every pod, its connections both ways, and the maps.
import { isIP } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readNodeStatus } from '@sluice/ambient-agent';
import { InstalledDatapath } from '@sluice/datapath';
import { netnsCookie } from '@sluice/linux';
import { endpoint, wayOf } from '@sluice/testbed';
import { nowUs, partyOf } from './judge.js';
import type { Party } from './model.js';
import { attemptsSince, cgroupIdOf, type LivePod } from './live-pod.js';
import { Violation } from './violation.js';
import type { World } from './world.js';

/** So many dials of a loop, one after the other, have to go where they must. */
const DIALS = 2;
const LOOK_MS = 100;

export interface SettleOptions {
  readonly patienceMs: number;
  /** Whether every pod finds room in the maps. Otherwise one that is wanted may be pending. */
  readonly hasRoom: boolean;
}

/**
 * Brings back what is away, and waits until everything is as the model says.
 * @throws Violation with what is not, when patience is over, and for whatever went wrong meanwhile
 */
export async function settle(world: World, { patienceMs, hasRoom }: SettleOptions): Promise<void> {
  await world.bringBack();
  const sinceUs = nowUs();
  const end = performance.now() + patienceMs;
  for (;;) {
    world.judge();
    const { missing, pending } = await look(world, sinceUs, hasRoom);
    if (missing.length === 0) {
      world.model.settled((name) => !pending.has(name));
      world.note();
      await world.probe();
      return;
    }
    if (performance.now() >= end)
      throw new Violation(
        `not settled within ${patienceMs / 1000} s:\n${missing.map((what) => `  ${what}`).join('\n')}`,
      );
    await sleep(LOOK_MS);
  }
}

interface Look {
  readonly missing: readonly string[];
  /** Wanted pods that are pending because there is no room. */
  readonly pending: ReadonlySet<string>;
}

async function look(world: World, sinceUs: number, hasRoom: boolean): Promise<Look> {
  const missing: string[] = [];
  const pending = new Set<string>();
  const { workloads } = readNodeStatus(world.place.runDir).state;
  const meshed: LivePod[] = [];
  for (const live of world.pods.values()) {
    const { name, pod } = live;
    const membership = world.model.membershipOf(name);
    if (membership === undefined) continue;
    const status = workloads.find(({ uid }) => uid === pod.uid || uid === pod.objectUid);
    const isPending = !hasRoom && membership === 'in' && status?.state === 'pending' && status.code === 'no-room';
    if (isPending) pending.add(name);
    else if (status?.state !== membership)
      missing.push(
        `pod ${name} has to be ${membership}, and status says ${status?.state ?? 'nothing of it'}: ` +
          `${status?.reason ?? ''} ${status?.problems.join('; ') ?? ''}`,
      );
    if (membership === 'in' && !isPending) meshed.push(live);
    // Whoever is pending has no state to reach; who may accept its connections is judged all the time.
    if (!isPending) missing.push(...wrongDials(live, sinceUs, membership === 'in' ? 'mesh' : 'direct'));
  }
  missing.push(...wrongEntries(world, meshed, pending));
  if (missing.length === 0) missing.push(...(await wrongFromFurther(world, pending)));
  return { missing, pending };
}

function wrongDials(live: LivePod, sinceUs: number, wanted: Party): string[] {
  return attemptsSince(live, sinceUs).flatMap(({ loop, direction, attempts }) => {
    const last = attempts.slice(-DIALS);
    const isRight = last.length === DIALS && last.every((attempt) => partyOf(attempt) === wanted);
    const found = last.map((attempt) => `${wayOf(attempt)} ${attempt.error}${attempt.readError}`.trim()).join(', ');
    return isRight
      ? []
      : [`pod ${live.name}, ${loop}: ${direction} has to be ${wanted}, and was ${found || 'not dialled'}`];
  });
}

/** Connections from addresses that Kubernetes does not know of. Those of a pod without room wait, as from its own. */
async function wrongFromFurther(world: World, pending: ReadonlySet<string>): Promise<string[]> {
  const missing: string[] = [];
  for (const { name, pod, further } of world.pods.values()) {
    const membership = world.model.membershipOf(name);
    if (membership === undefined || pending.has(name)) continue;
    for (const ip of further) {
      const result = await pod.dial(endpoint(world.place.node.remote.ip6, 80), {
        bind: endpoint(ip, 0),
        timeout: 3000,
      });
      const way = wayOf(result);
      if (way !== (membership === 'in' ? 'mesh' : 'direct'))
        missing.push(`pod ${name} from ${ip}: ${way} ${result.error}`);
    }
  }
  return missing;
}

/** The maps hold exactly the pods in the mesh, by their cgroup, their network namespace and its addresses. */
function wrongEntries(world: World, meshed: readonly LivePod[], pending: ReadonlySet<string>): string[] {
  using installed = InstalledDatapath.open(join(world.place.bpffs, 'sluice'));
  const { cgroups, netns, localPods } = installed.read();
  const ids = new Map(meshed.map(({ name, pod }) => [cgroupIdOf(pod), name]));
  const cookies = new Map(meshed.map(({ name, pod }) => [netnsCookie(pod.netns), name]));
  const missing: string[] = [];
  const inCgroups = new Set([...cgroups.values()].filter(({ inMesh }) => inMesh).map(({ id }) => id));
  for (const [id, name] of ids) if (!inCgroups.has(id)) missing.push(`cgroup_info_map has no entry of pod ${name}`);
  const inNetns = new Set([...netns].filter(([, { inMesh }]) => inMesh).map(([cookie]) => cookie));
  for (const [cookie, name] of cookies)
    if (!inNetns.has(cookie)) missing.push(`netns_info_map has no entry of pod ${name}`);
  for (const { name, pod, further } of meshed)
    for (const ip of pod.ips) {
      // Without the API's word nobody can know which address of a family is the Pod IP.
      const candidates = pod.isMisreported ? [ip, ...further.filter((other) => isIP(other) === isIP(ip))] : [ip];
      if (!candidates.some((candidate) => localPods.get(candidate)?.netnsCookie === netnsCookie(pod.netns)))
        missing.push(`local_pods lacks ${candidates.join(' or ')} of pod ${name}`);
    }
  // Of a pod that is pending some entries may be there, and some not.
  if (pending.size > 0 || [...world.pods.keys()].some((name) => world.model.membershipOf(name) === undefined))
    return missing;
  for (const id of inCgroups) if (!ids.has(id)) missing.push(`cgroup_info_map has ${id}, which is no pod in the mesh`);
  for (const cookie of inNetns)
    if (!cookies.has(cookie)) missing.push(`netns_info_map has ${cookie}, which is no pod in the mesh`);
  for (const [ip, { netnsCookie: cookie }] of localPods)
    if (!cookies.has(cookie)) missing.push(`local_pods has ${ip}, which is of no pod in the mesh`);
  return missing;
}
