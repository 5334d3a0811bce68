// Paths in the checkout; they are the same from src/ and from dist/.
import { fileURLToPath } from 'node:url';

/** Makes a path that is relative to the repository's root absolute. */
export function repositoryPath(relative: string): string {
  return fileURLToPath(new URL(`../../../${relative}`, import.meta.url));
}

export const chartPath = repositoryPath('deploy/helm/sluice');
