// What decides in this pass how each pod is captured, as far as it is not in the inventory.
import type { AgentConfig } from '../config/config.js';
import { pinDirectory } from '../config/pin-directory.js';
import { nothingSeen, type CaptureFacts } from '../enrolment/capture.js';
import { foreignConnect } from '../node/foreign-connect.js';
import type { NodeTruth } from '../node/node-view.js';
import type { ZdsFacts } from '../zds/zds.js';
import type { ListenerSights } from './listener-sights.js';

export interface CaptureSources {
  readonly config: Pick<AgentConfig, 'mode' | 'capture' | 'paths'>;
  readonly sights: ListenerSights;
  readonly obstacles: CaptureFacts['obstacles'];
  readonly prepared: CaptureFacts['prepared'];
}

/** Asks the kernel only if a pod can be captured by route at all. */
export function captureFacts(
  { config, sights, obstacles, prepared }: CaptureSources,
  zds: ZdsFacts,
  { workloads }: Pick<NodeTruth, 'workloads'>,
  isThorough: boolean,
): CaptureFacts {
  if (config.mode === 'node' || config.capture === 'rewrite') return nothingSeen;
  const pods = [...workloads.values()].map(({ pod }) => pod.cgroupPath);
  const listeners = sights.update(zds, isThorough);
  return {
    obstacles,
    prepared,
    listeners,
    expected: sights.latest,
    foreignConnect: foreignConnect(pinDirectory(config.paths.bpffs), pods),
  };
}
