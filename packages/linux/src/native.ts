// Loads the addon, and says what it exports. The relative path is the same from src/ and from dist/.
import { createRequire } from 'node:module';

/** An IPv4 or IPv6 address of a network interface, as rtnetlink(7) reports it. */
export interface InterfaceAddress {
  /** The interface's index in its network namespace. */
  ifindex: number;
  /** The interface's name, without an alias's suffix. */
  name: string;
  family: 4 | 6;
  /** Text as inet_ntop(3) writes it: for IPv6 the canonical form of RFC 5952. On a point-to-point link, our end. */
  address: string;
  prefixLength: number;
  /** enum rt_scope_t of linux/rtnetlink.h; values between the names count as the wider one. */
  scope: 'global' | 'site' | 'link' | 'host';
}

export interface NativeNetns {
  dev: bigint;
  inode: bigint;
  cookie: bigint;
  addresses: InterfaceAddress[];
}

export interface NativeFileLock {
  readonly held: boolean;
  close(): void;
}

interface Addon {
  readNetns(path: string, withAddresses: boolean): NativeNetns;
  getSockOpt(fd: number, level: number, name: number, length: number): Buffer;
  setSockOptInt(fd: number, level: number, name: number, value: number): void;
  mount(source: string, target: string, fsType: string, flags: number, data: string): void;
  unmount(target: string, flags: number): void;
  readonly FileLock: new (path: string) => NativeFileLock;
}

function load(): Addon {
  const require = createRequire(import.meta.url);
  try {
    return require('../build/linux.node') as Addon;
  } catch (error) {
    const absent = error instanceof Error && 'code' in error && error.code === 'MODULE_NOT_FOUND';
    if (!absent) throw error;
    throw new Error('@sluice/linux: build/linux.node is not there; build it with `make -C packages/linux`', {
      cause: error,
    });
  }
}

export const native = load();
