// Where the programs of a real cluster are: in PATH, to which scripts/cluster/run.sh adds those that it has built.
import { findProgram } from '../requires.js';

export function clusterProgram(name: string): string {
  const path = findProgram(name);
  if (path === undefined) throw new Error(`${name} is not in PATH; \`npm run test:cluster\` builds or fetches it`);
  return path;
}
