// What a person reads of all starts.
import Table from 'cli-table3';
import type { StartSummary } from './summary.js';

/** Pure. */
export function startTable({ starts, dials, pods, firstInMesh, neverInMesh, waitMs }: StartSummary): string {
  const counts = new Table({ head: ['', 'in the mesh', 'direct', 'refused', 'failed'] });
  counts.push(
    ['dials', dials.mesh, dials.direct, dials.refused, dials.failed],
    ['pods with such a dial', pods.mesh, pods.direct, pods.refused, pods.failed],
  );
  const waits = new Table({ head: ['wait until the first dial in the mesh has ended', ...Object.keys(waitMs)] });
  waits.push(['ms', ...Object.values(waitMs).map((value) => value.toFixed(2))]);
  return [
    counts.toString(),
    waits.toString(),
    `${starts} pods; ${firstInMesh} of them were in the mesh with their first dial, ${neverInMesh} never were`,
  ].join('\n');
}
