// An observable that has counters.
import { Observable, type Subscriber, type TeardownLogic } from 'rxjs';
import type { ProcessWatcherStats, StatsCollector } from './stats.js';

/** `stats()` sums over every subscription made to this very object, also through `pipe`. */
export class MeteredObservable<T> extends Observable<T> {
  readonly #collector: StatsCollector;

  constructor(collector: StatsCollector, subscribe: (subscriber: Subscriber<T>) => TeardownLogic) {
    super(subscribe);
    this.#collector = collector;
  }

  stats(): ProcessWatcherStats {
    return this.#collector.read();
  }
}
