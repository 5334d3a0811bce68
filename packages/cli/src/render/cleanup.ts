// `sluice cleanup` for people: what was removed.
import type { CleanupReport } from '@sluice/ambient-agent';

/** Pure. */
export function renderCleanup({ detached, unpinned, files }: CleanupReport): string {
  const lines = [
    ...detached.map((name) => `detached  ${name}`),
    ...unpinned.map((path) => `unpinned  ${path}`),
    ...files.map((path) => `removed   ${path}`),
  ];
  return lines.length === 0 ? 'nothing of Sluice is on this node' : lines.join('\n');
}
