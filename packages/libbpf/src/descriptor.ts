// One owner per descriptor: what programs, maps and links have in common.
import { native } from './native.js';
import type { NativeFd } from './native.js';
import { refuse } from './error.js';

/** Owns one descriptor. close() may be called twice; a forgotten one is closed when it is collected. */
export class Descriptor {
  readonly #fd: NativeFd;
  readonly #what: string;

  /** @param what how errors name the object: "map 'x'" */
  constructor(fd: number, what: string) {
    this.#fd = new native.Fd(fd);
    this.#what = what;
  }

  /** The descriptor; throws after close(). */
  get number(): number {
    const { number } = this.#fd;
    if (number < 0) throw refuse('EBADF', `${this.#what} is closed`);
    return number;
  }

  get closed(): boolean {
    return this.#fd.number < 0;
  }

  close(): void {
    this.#fd.close();
  }
}

/** Opens a directory for the length of one call. */
export function withDirectory<T>(path: string, use: (fd: number) => T): T {
  const fd = new native.Fd(native.openDirectory(path));
  try {
    return use(fd.number);
  } finally {
    fd.close();
  }
}
