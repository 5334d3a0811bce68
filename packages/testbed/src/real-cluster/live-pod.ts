// A pod as the API server has it, reduced to what tests read.
import * as Schema from 'effect/Schema';
import { LiveObject } from './kubectl.js';

const text = Schema.optionalKey(Schema.String);

export const Conditions = Schema.optionalKey(
  Schema.Array(Schema.Struct({ type: Schema.String, status: Schema.String })),
);

/** The id begins with the runtime's name: containerd://<64 digits> */
const Container = Schema.Struct({ name: Schema.String, restartCount: Schema.Int, containerID: text });

export const LivePod = Schema.Struct({
  ...LiveObject.fields,
  spec: Schema.Struct({ serviceAccountName: Schema.String, hostNetwork: Schema.optionalKey(Schema.Boolean) }),
  status: Schema.Struct({
    phase: Schema.String,
    podIP: text,
    conditions: Conditions,
    containerStatuses: Schema.optionalKey(Schema.Array(Container)),
  }),
});
export type LivePod = typeof LivePod.Type;

export function isReady(pod: LivePod): boolean {
  return pod.status.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true;
}

/** The sum of all its containers. */
export function restarts(pod: LivePod): number {
  return (pod.status.containerStatuses ?? []).reduce((sum, { restartCount }) => sum + restartCount, 0);
}
