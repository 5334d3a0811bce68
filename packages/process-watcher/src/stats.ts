// Counters of a watcher, summed over all its subscriptions, ended ones included.
import type { ProcConnector, ProcConnectorStats } from '@sluice/netlink-proc-connector';

/** Every counter only grows, for as long as the observable is kept. */
export interface ProcessWatcherStats extends Omit<ProcConnectorStats, 'receiveBufferBytes'> {
  /** Subscriptions open now. */
  connectors: number;
}

const ZERO: ProcessWatcherStats = {
  messages: 0,
  foreign: 0,
  truncated: 0,
  malformed: 0,
  unexpectedType: 0,
  unknownKind: 0,
  outOfOrder: 0,
  gaps: 0,
  lost: 0,
  enobufs: 0,
  receiveErrors: 0,
  ringLost: 0,
  connectors: 0,
};

export class StatsCollector {
  readonly #open = new Set<ProcConnector>();
  readonly #past: ProcessWatcherStats = { ...ZERO };

  opened(connector: ProcConnector): void {
    this.#open.add(connector);
  }

  closed(connector: ProcConnector): void {
    if (this.#open.delete(connector)) addTo(this.#past, connector.stats());
  }

  read(): ProcessWatcherStats {
    const sum = { ...this.#past, connectors: this.#open.size };
    for (const connector of this.#open) addTo(sum, connector.stats());
    return sum;
  }
}

function addTo(sum: ProcessWatcherStats, stats: ProcConnectorStats): void {
  const isCommon = (name: string): name is keyof ProcessWatcherStats & keyof ProcConnectorStats =>
    name in ZERO && name in stats;
  for (const name of Object.keys(ZERO)) if (isCommon(name)) sum[name] += stats[name];
}
