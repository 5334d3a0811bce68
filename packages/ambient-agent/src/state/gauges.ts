// Gauges whose values are read from elsewhere when /metrics is served.
import * as Effect from 'effect/Effect';
import { CAPTURES } from '../enrolment/capture.js';
import {
  PENDING_CODES,
  WorkloadState,
  type DatedStatus,
  type StatusCode,
  type WorkloadStatus,
} from '../enrolment/status.js';
import { OUT_CODES } from '../enrolment/membership.js';
import type { Enforcement } from '../node/enforcement.js';
import type { InventorySource } from '../inventory/source.js';
import type { Zds } from '../zds/zds.js';
import { metrics } from '../observe/metrics.js';

/** The reasons that pods of a state can have. */
const REASONS: Readonly<Record<WorkloadState, readonly StatusCode[]>> = {
  unknown: ['no-object'],
  pending: PENDING_CODES,
  in: ['selected', 'leaving'],
  out: OUT_CODES,
};

/** How long the pod has waited that runs, is wanted in the mesh and is not in it, and has waited longest. */
export const refreshMismatch = (statuses: readonly DatedStatus[]): Effect.Effect<void> =>
  Effect.suspend(() => {
    const waiting = statuses.filter(({ state, cgroups }) => state === 'pending' && cgroups.length > 0);
    const oldest = Math.min(Date.now(), ...waiting.map(({ waitsSince, since }) => Date.parse(waitsSince ?? since)));
    return metrics.oldestMismatch((Date.now() - oldest) / 1000);
  });

/** Pods by state, by reason and by capture, including what no pod has. */
export const refreshWorkloads = (statuses: readonly WorkloadStatus[]): Effect.Effect<void> => {
  const count = (is: (status: WorkloadStatus) => boolean): number => statuses.filter(is).length;
  return Effect.all(
    [
      ...WorkloadState.literals.map((state) =>
        metrics.workloads(
          state,
          count((status) => status.state === state),
        ),
      ),
      ...WorkloadState.literals.flatMap((state) =>
        REASONS[state].map((reason) =>
          metrics.pods(
            state,
            reason,
            count((status) => status.state === state && status.code === reason),
          ),
        ),
      ),
      ...CAPTURES.map((by) =>
        metrics.captures(
          by,
          count(({ capture }) => capture?.by === by),
        ),
      ),
    ],
    { discard: true },
  );
};

/** The counters of the process watcher that show how complete its events are. */
const watched = [
  'messages',
  'lost',
  'ringLost',
  'enobufs',
  'malformed',
  'truncated',
  'foreign',
  'receiveErrors',
] as const;
type Watched = Readonly<Record<(typeof watched)[number], number>>;

/** The counters of the datapath and of the process watcher; those that cannot be read stay as they were. */
export const refreshCounters = (enforcement: Enforcement['Service'], stats: () => Watched): Effect.Effect<void> =>
  Effect.gen(function* () {
    const counts = stats();
    for (const name of watched) yield* metrics.processEvents(name, counts[name]);
    const { decisions, inbound, events } = yield* enforcement.counters;
    for (const { verdict, reason, count } of decisions) yield* metrics.decisions({ verdict, reason }, Number(count));
    for (const { verdict, reason, count } of inbound) yield* metrics.inbound({ verdict, reason }, Number(count));
    for (const [event, count] of Object.entries(events)) yield* metrics.datapathEvent(event, Number(count));
  }).pipe(Effect.catch(() => metrics.error('counters')));

/** The state of the copies of the API's collections; nothing without an API. */
export const refreshCopies = (source: InventorySource['Service']): Effect.Effect<void> =>
  Effect.suspend(() => {
    const now = Date.now();
    const updates = source.copies().flatMap(({ resource, objects, connected, lastContactMs, counters }) => {
      const ageSeconds = lastContactMs === undefined ? Number.NaN : Math.max(0, now - lastContactMs) / 1000;
      const { failures, ...counts } = counters;
      return [
        metrics.api(resource, { ageSeconds, connected, objects }),
        ...Object.entries(counts).map(([what, count]) => metrics.apiRequests(resource, what, count)),
        ...[...failures].map(([reason, count]) => metrics.apiRequests(resource, `failed: ${reason}`, count)),
      ];
    });
    return Effect.all(updates, { discard: true });
  });

/** The ZDS server's counters; nothing in `node` mode. */
export const refreshZds = (zds: Zds['Service']): Effect.Effect<void> =>
  Effect.suspend(() => {
    const counts = zds.metrics();
    if (counts === undefined) return Effect.void;
    const { connections, workloads, workloadsUnacked, ...events } = counts;
    return Effect.all(
      [
        metrics.zdsConnections(connections),
        metrics.zdsWorkloads('all', workloads),
        metrics.zdsWorkloads('unacked', workloadsUnacked),
        ...Object.entries(events).map(([event, count]) => metrics.zdsEvent(event, count)),
      ],
      { discard: true },
    );
  });
