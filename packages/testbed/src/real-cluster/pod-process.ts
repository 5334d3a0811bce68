// A process of a pod, found where the kubelet's naming (cgroupfs driver) says that its containers are.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Guaranteed pods have no directory for their class. */
const CLASSES = ['.', 'burstable', 'besteffort'];

/**
 * @param root the cgroup that `kubepods` is in
 * @throws Error when the pod has no process
 */
export function podProcess(root: string, uid: string): number {
  const pod = CLASSES.map((name) => join(root, 'kubepods', name, `pod${uid}`)).find((path) => existsSync(path));
  const containers = pod === undefined ? [] : readdirSync(pod, { withFileTypes: true });
  for (const { name } of containers.filter((entry) => entry.isDirectory())) {
    const [pid] = readFileSync(join(pod ?? '', name, 'cgroup.procs'), 'utf8').split('\n');
    if (pid !== undefined && pid !== '') return Number(pid);
  }
  throw new Error(`pod ${uid} has no process below ${root}/kubepods; it has ended, or has not started`);
}
