// A conflict between Sluice's plumbing and something else in a pod's network namespace.
import type { Netns } from '@sluice/linux';
import * as Schema from 'effect/Schema';

/** `part` could not be added; the message names what is in its place, and what to do. */
export class PlumbingConflict extends Schema.TaggedError<PlumbingConflict>()('PlumbingConflict', {
  part: Schema.Literals(['rule', 'route', 'loopback']),
  message: Schema.String,
}) {}

/** @param what a clause that names it */
export function inTheWay(part: PlumbingConflict['part'], what: string, { path }: Netns): PlumbingConflict {
  const remedy = 'remove it, or keep the pod out of the mesh (istio.io/dataplane-mode: none)';
  return new PlumbingConflict({ part, message: `in the pod’s network namespace ${path}, ${what}; ${remedy}` });
}

export function loopbackDown({ path }: Netns): PlumbingConflict {
  const message =
    `the loopback of the pod’s network namespace ${path} is down, so that ztunnel cannot reach the application; ` +
    'the container runtime or a network plugin brings it up (ip link set lo up)';
  return new PlumbingConflict({ part: 'loopback', message });
}
