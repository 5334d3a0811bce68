// Loads build/proc_connector.node; the same relative path holds from src/ and from dist/.
import { createRequire } from 'node:module';

/** Counters of the native side; `ProcConnectorStats` documents them. */
export interface NativeCounters {
  messages: number;
  foreign: number;
  truncated: number;
  malformed: number;
  unexpectedType: number;
  unknownKind: number;
  outOfOrder: number;
  gaps: number;
  lost: number;
}

export interface NativeStats extends NativeCounters {
  enobufs: number;
  receiveErrors: number;
  ringLost: number;
  receiveBufferBytes: number;
}

export interface NativeOptions {
  receiveBufferBytes: number;
  ackTimeoutMs: number;
  lingerMs: number;
  kindMask: number;
  ringRecords: number;
}

export interface NativeConnector {
  take(): { batch: ArrayBuffer; more: boolean };
  stats(): NativeStats;
  close(): void;
}

export interface NativeParser {
  feed(datagram: Uint8Array, senderPort: number, truncated: boolean): ArrayBuffer;
  noteSocketOverrun(): void;
  flushSocketOverrun(): ArrayBuffer;
  counters(): NativeCounters;
}

export interface NativeModule {
  Connector: new (options: NativeOptions, onBatch: (batch: ArrayBuffer, more: boolean) => void) => NativeConnector;
  Parser: new () => NativeParser;
  suspendedNs(): bigint;
}

let loaded: NativeModule | undefined;

/** The addon. It is loaded at its first use, so that importing the package works where it has not been built. */
export function native(): NativeModule {
  if (loaded === undefined) {
    try {
      loaded = createRequire(import.meta.url)('../build/proc_connector.node') as NativeModule;
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') throw cause;
      throw new Error(
        'netlink-proc-connector: build/proc_connector.node does not exist; build it with `make -C packages/netlink-proc-connector` (needs g++ and make)',
        { cause },
      );
    }
  }
  return loaded;
}
