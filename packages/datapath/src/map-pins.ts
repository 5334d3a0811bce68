// The pins of the maps, as long as the agent lives: it holds the maps, so that one whose pin somebody removes is pinned again, and stays
// the one that is written.
import { mkdirSync } from 'node:fs';
import type { BpfObject } from '@sluice/libbpf';
import { PINNED_MAPS, mapPin, mapsDirectory, type MapName } from './layout.js';
import { canPinIn, clearPin, inodeOf } from './pins.js';

export class MapPins {
  readonly #object: BpfObject;
  readonly #pinDirectory: string;
  readonly #inodes = new Map<MapName, bigint>();

  /** Call {@link remember} when the maps are pinned. */
  constructor(object: BpfObject, pinDirectory: string) {
    this.#object = object;
    this.#pinDirectory = pinDirectory;
  }

  /** Whatever is pinned now is ours. */
  remember(): void {
    for (const name of PINNED_MAPS) this.#rememberOne(name);
  }

  /** Those whose pin is gone, or another one by now. None before {@link remember}. */
  missing(): readonly MapName[] {
    return [...this.#inodes].flatMap(([name, inode]) =>
      inodeOf(mapPin(this.#pinDirectory, name)) === inode ? [] : [name],
    );
  }

  /** Does nothing while no BPF file system is there. Throws BpfError. */
  pinAgain(): void {
    const missing = this.missing();
    if (missing.length === 0 || !canPinIn(this.#pinDirectory)) return;
    mkdirSync(mapsDirectory(this.#pinDirectory), { recursive: true, mode: 0o700 });
    for (const name of missing) {
      const pin = mapPin(this.#pinDirectory, name);
      clearPin(pin);
      this.#object.map(name).pin(pin);
      this.#rememberOne(name);
    }
  }

  #rememberOne(name: MapName): void {
    const inode = inodeOf(mapPin(this.#pinDirectory, name));
    if (inode !== undefined) this.#inodes.set(name, inode);
  }
}
