// Who made what: names that contain their owner, removal however the owner ends, and the sweep after an owner was killed.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { readProcess } from '@sluice/linux';
import { cgroup1Roots, cgroup2Root, removeCgroup, removeCgroup1 } from './cgroup.js';
import { networkDevices, removeNetworkDevice } from './network-devices.js';

/** sluice-<owner's pid>-<owner's start time, base 36>-<counter>, and possibly a role. */
const NAME = /^sluice-(\d+)-([0-9a-z]+)-\d+(?:-[a-z]+)?$/;

/** Removers in the order in which things were made; each is idempotent and synchronous. */
const removers = new Set<() => void>();
let counter = 0;
let listening = false;

/** A name that nothing else on this machine has, now or after a pid is used again. */
export function uniqueName(): string {
  counter += 1;
  return `sluice-${process.pid}-${startTime(process.pid)}-${counter}`;
}

/** The directory of that name under the system's temporary directory. */
export function workDirectory(name: string): string {
  const path = join(tmpdir(), name);
  mkdirSync(path, { recursive: true, mode: 0o755 });
  return path;
}

/** Runs `remove` when the process exits or is interrupted, unless the returned function is called before. */
export function removeAtExit(remove: () => void): () => void {
  removers.add(remove);
  listen();
  return () => removers.delete(remove);
}

/** Removes everything that has the name: processes, cgroups, network devices, mounts, files. */
export function removeEverything(name: string): void {
  const isIts = (entry: string): boolean => entry === name || entry.startsWith(`${name}-`);
  // First everything that ends the processes; then what could not be removed before they had ended.
  for (const path of namedIn(cgroup2Root(), isIts)) removeCgroup(path);
  for (const path of cgroup1Roots().flatMap((root) => namedIn(root, isIts))) removeCgroup1(path);
  for (const device of networkDevices()) if (device.alias === name) removeNetworkDevice(device.name);
  const directory = join(tmpdir(), name);
  for (const target of mountsBelow(directory)) unmount(target);
  rmSync(directory, { recursive: true, force: true });
}

/**
 * Removes what dead owners left behind (one that SIGKILL ended cannot clean up). What belongs to a living process is left
 * alone. Returns the names of what was removed.
 */
export function sweep(): string[] {
  const paths = [cgroup2Root(), ...cgroup1Roots(), tmpdir()].flatMap((root) => namedIn(root, () => true));
  const found = [...paths.map((path) => basename(path)), ...networkDevices().map(({ alias }) => alias)];
  const dead = new Set(found.filter((name) => isDead(name)).map((name) => name.split('-').slice(0, 4).join('-')));
  for (const name of dead) removeEverything(name);
  return [...dead];
}

function isDead(name: string): boolean {
  const [, pid, start] = NAME.exec(name) ?? [];
  return pid !== undefined && startTime(Number(pid)) !== start;
}

/** Paths of the entries of a directory that have a name of the testbed's. */
function namedIn(directory: string, wanted: (name: string) => boolean): string[] {
  return readdirSync(directory)
    .filter((entry) => NAME.test(entry) && wanted(entry))
    .map((entry) => join(directory, entry));
}

/** Another sweep may remove it at the same time. */
function unmount(target: string): void {
  try {
    execFileSync('umount', ['-l', target], { stdio: 'pipe' });
  } catch (error) {
    if (mountsBelow(dirname(target)).includes(target)) throw error;
  }
}

/** Deepest first. */
function mountsBelow(directory: string): string[] {
  if (!existsSync(directory)) return [];
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((target) => target.startsWith(`${directory}/`))
    .toReversed();
}

/** In base 36, or undefined when there is no such process. */
function startTime(pid: number): string | undefined {
  const seen = readProcess('/proc', pid);
  return seen?.leaderEnded === false ? seen.startTime.toString(36) : undefined;
}

function listen(): void {
  if (listening) return;
  listening = true;
  process.on('exit', removeAll);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    const onSignal = (): void => {
      removeAll();
      process.off(signal, onSignal);
      // If nothing else listens, the signal would have ended the process: let it.
      if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
    };
    process.on(signal, onSignal);
  }
}

function removeAll(): void {
  for (const remove of [...removers].toReversed()) {
    try {
      remove();
    } catch (error) {
      process.stderr.write(`testbed: ${String(error)}\n`);
    }
  }
}
