// What can be set about a watcher.
export interface ProcessWatcherOptions {
  /** Where the proc file system of the host's pid namespace is; default /proc. */
  procPath?: string;
  /** Receive buffer of the socket, in bytes; default 8 MiB. */
  receiveBufferBytes?: number;
  /** How many events may wait for JavaScript, 64 bytes each; default 65 536. More cause an overrun. */
  ringRecords?: number;
  /** How long the reader lets events gather, in milliseconds; default 2. */
  lingerMs?: number;
}
