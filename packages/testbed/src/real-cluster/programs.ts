// Where the programs that a real cluster is made of are: in PATH, to which scripts/cluster/run.sh adds what it has built.
import { findProgram } from '../requires.js';

export function clusterProgram(name: string): string {
  const path = findProgram(name);
  if (path === undefined) throw new Error(`${name} is not in PATH; \`npm run test:cluster\` builds or fetches it`);
  return path;
}
