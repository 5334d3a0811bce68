// Where the static peer program is, and the command lines that start it inside a pod.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The absolute path of the built peer program; throws with the remedy if it is not built. */
export function peerProgram(): string {
  const path = fileURLToPath(new URL('../build/peer', import.meta.url)); // the same from src/ and from dist/
  if (!existsSync(path)) throw new Error(`${path} is not built; run "make -C packages/testbed"`);
  return path;
}

/** Where cgroup2 is mounted on a machine that has nothing else. */
export const PURE_V2_ROOT = '/sys/fs/cgroup';

/** Where a program is to run. Whatever is left out is as for the caller. */
export interface Place {
  /** Directory of a cgroup to move into. */
  readonly cgroup?: string;
  /** Path of a network namespace to enter. */
  readonly netns?: string;
  /** Enter a new, empty network namespace. */
  readonly newNetns?: boolean;
  /** Set in that network namespace, such as `net.ipv4.ip_forward: '1'`. */
  readonly sysctls?: Readonly<Record<string, string>>;
  /** Mount cgroup2 here in private mounts, over anything that is mounted: the view of a pure-v2 machine. */
  readonly cgroup2At?: string;
  /** Send SIGKILL when the thread that started it ends (prctl(2), PR_SET_PDEATHSIG). Default true. */
  readonly dieWithParent?: boolean;
}

/** The command line that runs `argv` at `place`; see `peer enter`. */
export function enterCommand(place: Place, argv: readonly string[]): string[] {
  return [
    peerProgram(),
    'enter',
    ...(place.dieWithParent === false ? [] : ['--die-with-parent']),
    ...(place.cgroup === undefined ? [] : ['--cgroup', place.cgroup]),
    ...(place.newNetns === true ? ['--new-netns'] : []),
    ...(place.netns === undefined ? [] : ['--netns', place.netns]),
    ...Object.entries(place.sysctls ?? {}).flatMap(([key, value]) => ['--sysctl', `${key}=${value}`]),
    ...(place.cgroup2At === undefined ? [] : ['--cgroup2-at', place.cgroup2At]),
    '--',
    ...argv,
  ];
}
