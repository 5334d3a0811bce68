// The few Linux calls that Node lacks. All are synchronous except watches and the seqpacket sockets. Every failure is a SystemCallError.
export { errorCode, SystemCallError } from './errors.js';
export {
  checkPidfdGetfd,
  ListeningSocket,
  listeningSockets,
  type ListeningSocketOptions,
} from './listening-sockets.js';
export { lockFile, waitForLock, type FileLock, type LockWait } from './lock.js';
export {
  Netns,
  netnsCookie,
  NetnsGoneError,
  type InterfaceAddress,
  type NetworkDevice,
  type UserNamespace,
} from './netns.js';
export {
  connectSeqpacket,
  listenSeqpacket,
  OwnedFd,
  type ListenOptions,
  type PeerCredentials,
  type ReceiveOptions,
  type SeqpacketConnection,
  type SeqpacketListener,
  type SeqpacketPacket,
} from './seqpacket.js';
export { getSockOpt, jiffyMicroseconds, setSockOptInt } from './sockets.js';
export { silentListener } from './silent-listener.js';
export { addRoute, deleteRoute, routes, sameRoute, type ListedRoute, type PolicyRoute } from './policy-routes.js';
export {
  addRule,
  deleteRule,
  rules,
  sameRule,
  type Added,
  type Deleted,
  type ListedRule,
  type PolicyRule,
} from './policy-rules.js';
export { parseStat, readProcess, type SeenProcess } from './proc-stat.js';
export { readSysctl, writeSysctl, type SysctlOptions, type SysctlWritten } from './sysctls.js';
export {
  detachTc,
  tcFilters,
  type TcDetached,
  type TcDirection,
  type TcFilter,
  type TcPlace,
} from './traffic-control.js';
export { watchNetns, type NetnsChange } from './watch-netns.js';
