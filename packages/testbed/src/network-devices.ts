// Network devices of the machine that the testbed made: whose they are is their alias, for a name has room for 15 letters.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const DEVICES = '/sys/class/net';

/** The devices of this network namespace and their aliases, '' where there is none. */
export function networkDevices(): { readonly name: string; readonly alias: string }[] {
  return readdirSync(DEVICES).map((name) => {
    try {
      return { name, alias: readFileSync(join(DEVICES, name, 'ifalias'), 'utf8').trim() };
    } catch {
      return { name, alias: '' }; // it went meanwhile
    }
  });
}

/** Removes a device, and nothing happens when it is gone. Synchronous, because it also runs when the process is about to exit. */
export function removeNetworkDevice(name: string): void {
  try {
    execFileSync('ip', ['link', 'delete', name], { stdio: 'pipe' });
  } catch (error) {
    if (existsSync(join(DEVICES, name))) throw error;
  }
}
