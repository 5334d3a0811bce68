// Everything on the machine that has a name of the testbed's.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cgroup1Roots, cgroup2Root } from '../src/cgroup.js';
import { networkDevices } from '../src/network-devices.js';

/** Processes, mounts, cgroups, files and devices. A zombie does not count: the machine's init reaps it in its own time. */
export function traces(id: string): string[] {
  const processes = readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .flatMap((pid) => {
      try {
        if (/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))) return [];
        const about = readFileSync(`/proc/${pid}/cgroup`, 'utf8') + readFileSync(`/proc/${pid}/cmdline`, 'utf8');
        return about.includes(`${id}/`) || about.includes(`${id}-outside`) ? [`process ${pid}`] : [];
      } catch {
        return [];
      }
    });
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(id));
  const names = [cgroup2Root(), ...cgroup1Roots(), tmpdir()].flatMap((root) =>
    [id, `${id}-outside`].map((name) => join(root, name)),
  );
  const devices = networkDevices().flatMap(({ name, alias }) => (alias === id ? [`device ${name}`] : []));
  return [...processes, ...mounts, ...names.filter((path) => existsSync(path)), ...devices];
}
