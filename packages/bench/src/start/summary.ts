// All starts together.
import type { Way } from '@sluice/testbed';
import { quantile } from '../statistics.js';
import type { Sample } from './sample.js';

export const QUANTILES = [0.5, 0.9, 0.99, 0.999, 1] as const;

export interface StartSummary {
  readonly starts: number;
  /** Dials of all pods, by where they went. */
  readonly dials: Readonly<Record<Way, number>>;
  /** Pods of which at least one dial went there. */
  readonly pods: Readonly<Record<Way, number>>;
  /** Pods whose first dial was in the mesh. */
  readonly firstInMesh: number;
  /** Pods of which no dial was in the mesh. */
  readonly neverInMesh: number;
  /** Until the first dial in the mesh had ended, in ms, by quantile. */
  readonly waitMs: Readonly<Record<string, number>>;
  /** Nothing was direct, refused or failed, and every pod came into the mesh. */
  readonly isAsPromised: boolean;
}

/** Pure. */
export function summaryOf(samples: readonly Sample[]): StartSummary {
  const total = (count: (sample: Sample, way: Way) => number): Record<Way, number> => {
    const sum = (way: Way): number => samples.reduce((all, sample) => all + count(sample, way), 0);
    return { mesh: sum('mesh'), direct: sum('direct'), refused: sum('refused'), failed: sum('failed') };
  };
  const dials = total(({ ways }, way) => ways[way]);
  const waits = samples.flatMap(({ waitMs }) => (waitMs === undefined ? [] : [waitMs]));
  const neverInMesh = samples.length - waits.length;
  return {
    starts: samples.length,
    dials,
    pods: total(({ ways }, way) => (ways[way] > 0 ? 1 : 0)),
    firstInMesh: samples.filter(({ first }) => first === 'mesh').length,
    neverInMesh,
    waitMs: Object.fromEntries(QUANTILES.map((q) => [q === 1 ? 'max' : `p${q * 100}`, quantile(waits, q)])),
    isAsPromised: dials.direct + dials.refused + dials.failed + neverInMesh === 0,
  };
}
