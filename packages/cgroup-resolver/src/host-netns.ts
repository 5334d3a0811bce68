// Which network namespace is the node's own.
import { statSync } from 'node:fs';
import { CgroupError } from './errors.js';
import { readProcess } from './process.js';

const initPid = 1;
const kthreaddPid = 2;

function isReadable(path: string): boolean {
  try {
    statSync(path);
    return true;
  } catch {
    return false;
  }
}

/**
 * The path of the host's network namespace when none was given: that of pid 1, or of kthreadd if we may not look at pid 1.
 * Kernel threads are always in the initial network namespace.
 * @throws CgroupError proc-unusable when neither can be seen
 */
export function hostNetnsPath(procPath: string): string {
  const init = `${procPath}/${initPid}/ns/net`;
  if (isReadable(init)) return init;
  const kthreadd = `${procPath}/${kthreaddPid}/ns/net`;
  const facts = readProcess(procPath, kthreaddPid);
  if (facts?.comm === 'kthreadd' && facts.parentPid === 0 && isReadable(kthreadd)) return kthreadd;
  throw new CgroupError(
    'proc-unusable',
    init,
    `${init} cannot be looked at, so the host’s network namespace is unknown; run as root in the host pid namespace ` +
      '(hostPID), or name the namespace file',
  );
}
