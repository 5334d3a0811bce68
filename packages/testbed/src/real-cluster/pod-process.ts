// The first process of a pod's container, found by the kubelet's naming scheme (cgroupfs driver).
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LivePod } from './live-pod.js';

/** Guaranteed pods have no directory for their class. */
const CLASSES = ['.', 'burstable', 'besteffort'];

/**
 * The process of the pod's first container, not of the sandbox.
 * @param root the cgroup that `kubepods` is in
 * @throws Error if there is none
 */
export function podProcess(root: string, { metadata, status }: LivePod): number {
  const id = status.containerStatuses?.[0]?.containerID?.replace(/^\w+:\/\//, '') ?? '';
  const pods = CLASSES.map((name) => join(root, 'kubepods', name, `pod${metadata.uid}`, id, 'cgroup.procs'));
  const path = pods.find((candidate) => id !== '' && existsSync(candidate));
  const [pid = ''] = path === undefined ? [] : readFileSync(path, 'utf8').split('\n');
  if (pid === '')
    throw new Error(`pod ${metadata.name} has no process below ${root}/kubepods; it has ended, or has not started`);
  return Number(pid);
}
