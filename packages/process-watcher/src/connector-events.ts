// The connector as a cold observable: subscribing opens it, unsubscribing closes it.
import { openProcConnector, type ProcEvent } from '@sluice/netlink-proc-connector';
import { Observable } from 'rxjs';
import type { ProcessWatcherOptions } from './options.js';
import type { StatsCollector } from './stats.js';

/** Fork, exec and exit of every thread. A failure to open is the observable's error. It never completes. */
export function connectorEvents(options: ProcessWatcherOptions, collector: StatsCollector): Observable<ProcEvent> {
  const { receiveBufferBytes, ringRecords, lingerMs } = options;
  return new Observable((subscriber) => {
    const connector = openProcConnector({
      kinds: ['fork', 'exec', 'exit'],
      ...(receiveBufferBytes === undefined ? {} : { receiveBufferBytes }),
      ...(ringRecords === undefined ? {} : { ringRecords }),
      ...(lingerMs === undefined ? {} : { lingerMs }),
      onBatch: (batch) => {
        // The consumer may unsubscribe in the middle of a batch.
        for (let index = 0; index < batch.length && !subscriber.closed; index += 1) subscriber.next(batch.at(index));
      },
    });
    collector.opened(connector);
    return () => {
      connector.close();
      collector.closed(connector);
    };
  });
}
