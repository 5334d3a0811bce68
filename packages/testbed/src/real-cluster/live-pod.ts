// A pod as the API server has it, cut down to what tests look at.
import type { LiveObject } from './kubectl.js';

export interface LivePod extends LiveObject {
  readonly spec: { readonly serviceAccountName: string; readonly hostNetwork?: boolean };
  readonly status: {
    readonly phase: string;
    readonly podIP?: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    readonly containerStatuses?: readonly {
      readonly name: string;
      readonly restartCount: number;
      /** containerd://<64 digits> */
      readonly containerID?: string;
    }[];
  };
}

export function isReady(pod: LivePod): boolean {
  return pod.status.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true;
}

/** Of all its containers together. */
export function restarts(pod: LivePod): number {
  return (pod.status.containerStatuses ?? []).reduce((sum, { restartCount }) => sum + restartCount, 0);
}
