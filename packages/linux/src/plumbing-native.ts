// What the addon exports for the inside of a network namespace. Numbers are as in the kernel.
import type { InterfaceAddress } from './native.js';

export interface NativeRule {
  family: 4 | 6;
  priority: number;
  table: number;
  mark: number;
  mask: number;
  protocol: number;
  action: number;
  others: string[];
}

export interface NativeRoute {
  family: 4 | 6;
  type: number;
  protocol: number;
  scope: number;
  destination: string;
  prefixLength: number;
  table: number;
  metric: number;
  interface: string;
  source?: string;
  others: string[];
}

export interface NativeQdisc {
  kind: string;
  handle: number;
  parent: number;
}

export interface NativeTcFilter {
  kind: string;
  priority: number;
  protocol: number;
  handle: number;
  chain: number;
  programName: string;
  programTag: string;
  programId: number;
  directAction: boolean;
}

/** A network device, whether it is up or not. */
export interface NetworkDevice {
  /** In its network namespace. */
  ifindex: number;
  name: string;
}

export interface NativeNetnsOwner {
  readonly dev: bigint;
  readonly inode: bigint;
  readonly parentDev?: bigint;
  readonly parentInode?: bigint;
}

/** Every function takes an open namespace file, and the path by which errors name it. */
export interface NativePlumbing {
  netnsAddresses(netns: number, path: string): InterfaceAddress[];
  netnsDevices(netns: number, path: string): NetworkDevice[];
  netnsOwner(netns: number, path: string): NativeNetnsOwner;
  netnsRules(netns: number, path: string): NativeRule[];
  changeRule(
    netns: number,
    path: string,
    add: boolean,
    family: 4 | 6,
    priority: number,
    table: number,
    mark: number,
    mask: number,
    protocol: number,
    action: number,
  ): void;
  netnsRoutes(netns: number, path: string, table: number): NativeRoute[];
  changeRoute(
    netns: number,
    path: string,
    add: boolean,
    family: 4 | 6,
    table: number,
    type: number,
    destination: string,
    prefixLength: number,
    device: string,
    metric: number,
    protocol: number,
    source: string,
  ): void;
  netnsQdiscs(netns: number, path: string, device: string): NativeQdisc[];
  deleteClsact(netns: number, path: string, device: string): void;
  netnsTcFilters(netns: number, path: string, device: string, egress: boolean): NativeTcFilter[];
  deleteTcFilter(netns: number, path: string, device: string, egress: boolean, priority: number, handle: number): void;
  readNetnsSysctl(netns: number, path: string, file: string): string;
  writeNetnsSysctl(netns: number, path: string, file: string, value: string): void;
}
