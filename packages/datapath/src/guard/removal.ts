// Takes the guard from the node: its listeners are let go, and its programs end.
import { existsSync, readdirSync, rmdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { BpfLink, BpfMap, mapInfo, programInfo } from '@sluice/libbpf';
import { Netns, errorCode } from '@sluice/linux';
import { maps } from '../generated/maps.js';
import { guardDirectory, nameInKernel } from '../layout.js';
import { openIfPinned } from '../pins.js';
import { configKey } from './guard.js';
import { endLink, guardPin } from './links.js';

/** Returns the names of the parts that were attached. Idempotent. */
export function removeGuard(pinDirectory: string): string[] {
  const directory = guardDirectory(pinDirectory);
  if (!existsSync(directory)) return [];
  letAllGo(pinDirectory);
  const ended = readdirSync(directory).filter((name) => endLink(join(directory, name)));
  rmdirSync(directory);
  return ended.map((name) => `guard-${name}`);
}

/** In every network namespace that a process is in. */
function letAllGo(pinDirectory: string): void {
  using link = openIfPinned(guardPin(pinDirectory, 'let_go'), (pin) => BpfLink.openPinned(pin));
  using config = link === undefined ? undefined : configOf(link);
  const value = config?.lookup(configKey());
  if (config === undefined || link === undefined || value === undefined) return;
  config.update(configKey(), maps.guard_config.encodeValue({ ...maps.guard_config.decodeValue(value), letsAllGo: 1 }));
  for (const path of networkNamespaces()) {
    using netns = unlessGone(() => Netns.open(path));
    if (netns !== undefined) link.iterate(netns);
  }
}

/** The one that its program reads, which need not be pinned: an agent that does not know it has removed the pin. */
function configOf(link: BpfLink): BpfMap | undefined {
  const id = programInfo(link.info().programId).mapIds.find(
    (each) => mapInfo(each).name === nameInKernel('guard_config'),
  );
  return id === undefined ? undefined : BpfMap.openId(id);
}

/** A path to each. */
function networkNamespaces(): string[] {
  const processes = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const byInode = new Map<number, string>();
  for (const pid of processes) {
    const path = `/proc/${pid}/ns/net`;
    const inode = unlessGone(() => statSync(path).ino);
    if (inode !== undefined) byInode.set(inode, path);
  }
  return [...byInode.values()];
}

function unlessGone<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    // EACCES: a process that hides itself even from root without CAP_SYS_PTRACE, which is no pod's.
    if (['ENOENT', 'ESRCH', 'ESTALE', 'EACCES'].includes(errorCode(error) ?? '')) return undefined;
    throw error;
  }
}
