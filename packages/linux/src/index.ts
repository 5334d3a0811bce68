// The few Linux calls that Node lacks. Everything is synchronous, and every failure is a SystemCallError.
export { SystemCallError } from './errors.js';
export { lockFile, type FileLock } from './lock.js';
export { mount, MountFlag, unmount, UnmountFlag } from './mounts.js';
export { netnsAddresses, netnsCookie, readNetns, type InterfaceAddress, type NetnsFacts } from './netns.js';
export { getSockOpt, setSockOptInt } from './sockets.js';
