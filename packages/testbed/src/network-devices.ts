// Network devices of the machine that the testbed made. Their alias names the owner: a name has room for only 15 letters.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const DEVICES = '/sys/class/net';

/** The devices of this network namespace and their aliases, '' if there is none. */
export function networkDevices(): { readonly name: string; readonly alias: string }[] {
  return readdirSync(DEVICES).map((name) => {
    try {
      return { name, alias: readFileSync(join(DEVICES, name, 'ifalias'), 'utf8').trim() };
    } catch {
      return { name, alias: '' }; // it went meanwhile
    }
  });
}

/** Removes a device; does nothing if it is gone. It is synchronous, because it also runs when the process is about to exit. */
export function removeNetworkDevice(name: string): void {
  try {
    execFileSync('ip', ['link', 'delete', name], { stdio: 'pipe' });
  } catch (error) {
    if (existsSync(join(DEVICES, name))) throw error;
  }
}
