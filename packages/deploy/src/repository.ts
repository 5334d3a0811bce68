// Where things are in the checkout: the same from src/ and from dist/.
import { fileURLToPath } from 'node:url';

/** An absolute path, of one relative to the repository's root. */
export function repositoryPath(relative: string): string {
  return fileURLToPath(new URL(`../../../${relative}`, import.meta.url));
}

export const chartPath = repositoryPath('deploy/helm/sluice');
