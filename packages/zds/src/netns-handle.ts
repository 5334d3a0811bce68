// An open network namespace, and what identifies it. While it is open its inode number cannot be given to another.
import { closeSync, constants, fstatSync, openSync, statfsSync, statSync } from 'node:fs';
import { ZdsError } from './errors.js';

/** NSFS_MAGIC of linux/magic.h: the file system that namespaces live in. */
const NSFS_MAGIC = 0x6e73_6673;

/** Where a workload's network namespace is: an open descriptor (it is opened anew, and remains the caller's) or a path. */
export type NetnsSource = { readonly fd: number } | { readonly path: string };

export class NetnsHandle implements Disposable {
  /** -1 once closed. */
  fd: number;
  /** Device and inode: equal for two handles of one namespace, as ztunnel compares them. */
  readonly key: string;

  private constructor(fd: number, key: string) {
    this.fd = fd;
    this.key = key;
  }

  /**
   * @param refused Keys of namespaces that must never be handed out (the node's own).
   * @throws ZdsError not-a-netns, own-netns; an error of open(2) with its `code` (ENOENT: the pod is gone).
   */
  static open(source: NetnsSource, refused: ReadonlySet<string>): NetnsHandle {
    const path = 'path' in source ? source.path : `/proc/self/fd/${source.fd}`;
    // O_NONBLOCK: a FIFO in the place of a namespace must not stop the process.
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      if (statfsSync(`/proc/self/fd/${fd}`).type !== NSFS_MAGIC)
        throw new ZdsError('not-a-netns', `${path} is not a network namespace; give /proc/<pid>/ns/net or the like`);
      const key = keyOf(fstatSync(fd, { bigint: true }));
      if (refused.has(key))
        throw new ZdsError('own-netns', `${path} is the node's own network namespace; ztunnel would capture the node`);
      return new NetnsHandle(fd, key);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** The namespace that this process is in. */
  static ownKey(): string {
    return keyOf(statSync('/proc/self/ns/net', { bigint: true }));
  }

  /** Any number of times. */
  close(): void {
    if (this.fd >= 0) closeSync(this.fd);
    this.fd = -1;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function keyOf({ dev, ino }: { readonly dev: bigint; readonly ino: bigint }): string {
  return `${dev}:${ino}`;
}
