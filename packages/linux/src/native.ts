// Loads the addon, and declares what it exports. The relative path is the same from src/ and from dist/.
import { createRequire } from 'node:module';
import type { NativePlumbing } from './plumbing-native.js';

/** An IPv4 or IPv6 address of a network interface, as rtnetlink(7) reports it. */
export interface InterfaceAddress {
  /** The index of the interface in its network namespace. */
  ifindex: number;
  /** The interface's name, without an alias's suffix. */
  name: string;
  family: 4 | 6;
  /** Text as inet_ntop(3) writes it: for IPv6 the canonical form of RFC 5952. On a point-to-point link, our end. */
  address: string;
  prefixLength: number;
  /** enum rt_scope_t of linux/rtnetlink.h; values between the names count as the wider one. */
  scope: 'global' | 'site' | 'link' | 'host';
  /** New connections prefer another one (IFA_F_DEPRECATED: its preferred lifetime is over). */
  deprecated: boolean;
  /** It cannot be used, because the duplicate address detection of IPv6 is not over or has found another owner. */
  tentative: boolean;
}

export interface NativeNetns {
  readonly owned: NativeOwnedFd;
  readonly dev: bigint;
  readonly inode: bigint;
  readonly cookie: bigint;
}

export interface NativeFileLock {
  readonly held: boolean;
  close(): void;
}

export interface NativeOwnedFd {
  readonly fd: number;
  close(): void;
}

export interface NativeListeningSocket {
  readonly owned: NativeOwnedFd;
  readonly port: number;
  readonly family: 4 | 6;
  readonly netnsCookie: bigint;
  readonly socketCookie: bigint;
}

export interface NativeCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

export interface NativePeer {
  readonly credentials: NativeCredentials;
  readonly pidfd?: NativeOwnedFd;
  readonly pidfdFromSocket: boolean;
}

export interface NativePacket {
  readonly bytes: Buffer;
  readonly fds: readonly NativeOwnedFd[];
  readonly sender: NativeCredentials | undefined;
  readonly truncated: boolean;
  readonly controlTruncated: boolean;
  readonly malformedControl: boolean;
}

/** The answer to one request of a seqpacket socket. `socket` is the new one if a connection was accepted. */
export type NativeCompletion = { readonly request: number; readonly socket: number } & (
  | { readonly kind: 'accepted'; readonly peer: NativePeer }
  | { readonly kind: 'received'; readonly packet: NativePacket }
  | { readonly kind: 'ended' | 'sent' }
  | { readonly kind: 'failed'; readonly errno: number; readonly syscall: string }
);

/** Sockets and requests are numbers; seqpacket.ts and native/seqpacket_loop.h say what they mean. */
export interface NativeSeqpacketSockets {
  listen(path: string, backlog: number, replace: boolean): number;
  connect(path: string): { readonly socket: number; readonly peer: NativePeer };
  accept(socket: number, request: number): void;
  receive(socket: number, request: number, maxBytes: number, maxFds: number): void;
  send(socket: number, request: number, bytes: Uint8Array, fds: readonly number[]): boolean;
  readable(socket: number): boolean;
  endSending(socket: number): void;
  close(socket: number): void;
  keepAlive(keep: boolean): void;
}

/** Watches are numbers; watch-netns.ts and native/netns_watch_loop.h say what they mean. */
export interface NativeNetnsWatches {
  open(netns: number, path: string): number;
  close(watch: number): void;
}

export interface NativeNetnsChanges {
  readonly watch: number;
  readonly rules: boolean;
  readonly routes: boolean;
  readonly addresses: boolean;
  readonly devices: boolean;
  readonly lost: boolean;
}

interface Addon extends NativePlumbing {
  openNetns(path: string): NativeNetns;
  newNetns(): NativeNetns;
  getSockOpt(fd: number, level: number, name: number, length: number): Buffer;
  setSockOptInt(fd: number, level: number, name: number, value: number): void;
  /** `pidfd` -1 opens one by pid. No ports mean every port. */
  listeningSockets(pid: number, pidfd: number, procPath: string, ports: readonly number[]): NativeListeningSocket[];
  checkPidfdGetfd(): void;
  silentListener(): NativeOwnedFd;
  jiffyMicroseconds(): number;
  readonly FileLock: new (path: string) => NativeFileLock;
  readonly LockWait: new (path: string, callback: () => void) => NativeFileLock;
  readonly NetnsWatches: new (onChanges: (changes: readonly NativeNetnsChanges[]) => void) => NativeNetnsWatches;
  readonly SeqpacketSockets: new (onCompletions: (completions: NativeCompletion[]) => void) => NativeSeqpacketSockets;
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
