// Prints for people what `sluice cleanup` removed.
import type { CleanupReport } from '@sluice/ambient-agent';

/** Pure. */
export function renderCleanup({ withdrawn, detached, unpinned, restored, files, problems }: CleanupReport): string {
  const lines = [
    ...withdrawn.map((pod) => `withdrew  the annotation of pod ${pod}`),
    ...detached.map((name) => `detached  ${name}`),
    ...unpinned.map((path) => `unpinned  ${path}`),
    ...restored.map((text) => `restored  ${text}`),
    ...files.map((path) => `removed   ${path}`),
    ...problems.map((text) => `warning: ${text}`),
  ];
  return lines.length === 0 ? 'nothing of Sluice is on this node' : lines.join('\n');
}
