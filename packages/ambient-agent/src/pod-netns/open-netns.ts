// A pod's network namespace as an open file: once it is surely the pod's it stays that, whatever becomes of its processes.
import { closeSync, openSync } from 'node:fs';
import { netnsCookie } from '@sluice/linux';

/** Where the namespace was seen: the path may lead to another one by the time it is opened. */
export interface SeenNetns {
  /** SO_NETNS_COOKIE, which is never given twice until the next boot. */
  readonly cookie: bigint;
  readonly path: string;
}

export class OpenNetns implements Disposable {
  readonly cookie: bigint;
  #fd: number;

  private constructor(cookie: bigint, fd: number) {
    this.cookie = cookie;
    this.#fd = fd;
  }

  /** @throws Error when it is gone, or the path leads to another one by now; SystemCallError */
  static open({ cookie, path }: SeenNetns): OpenNetns {
    const netns = new OpenNetns(cookie, openSync(path, 'r'));
    try {
      const found = netnsCookie(netns.path);
      if (found !== cookie) throw new Error(`${path} was the network namespace ${cookie} and is ${found} now`);
      return netns;
    } catch (error) {
      netns.close();
      throw error;
    }
  }

  get fd(): number {
    return this.#fd;
  }

  /** Leads to this very namespace, in this process and while it is open. */
  get path(): string {
    return `/proc/self/fd/${this.#fd}`;
  }

  /** Idempotent. */
  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
