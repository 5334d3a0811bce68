// A live view of what starts and ends in pods and, on request, of the decisions that the datapath reports. It opens its own proc
// connector and reads names from the agent's state file; the agent need not run.
import { CgroupResolver, type ProcessResolution } from '@sluice/cgroup-resolver';
import { InstalledDatapath, type DecisionRecord } from '@sluice/datapath';
import * as Stream from 'effect/Stream';
import { readFileSync } from 'node:fs';
import { Observable } from 'rxjs';
import { fromObservable } from '../streams/from-observable.js';
import { watchedEvents } from '../node/process-source.js';
import { readState, type AgentState } from '../state/state.js';

export interface WatchedProcess {
  readonly kind: 'process';
  readonly event: string;
  readonly pid: number;
  readonly comm: string | undefined;
  /** `moving`: on its way into a pod. `gone`: it ended before it could be looked at. */
  readonly where: 'pod' | 'host' | 'moving' | 'gone';
  readonly podUid: string | undefined;
  /** namespace/name, if the agent knows it. */
  readonly pod: string | undefined;
  readonly ips: readonly string[];
  readonly state: string | undefined;
  readonly containerId: string | undefined;
  readonly cgroupId: string | undefined;
  readonly netnsCookie: string | undefined;
}

export interface WatchedDecision {
  readonly kind: 'decision';
  readonly pid: number;
  readonly comm: string;
  readonly pod: string | undefined;
  readonly destination: { readonly ip: string; readonly port: number };
  readonly verdict: string;
  readonly reason: string;
}

/** Events were lost here: in the kernel, on the way, or because the reader was slow. */
export interface WatchedOverrun {
  readonly kind: 'overrun';
  readonly of: 'processes' | 'decisions';
  readonly lost: number | undefined;
}

export type WatchRecord = WatchedProcess | WatchedDecision | WatchedOverrun;

export interface WatchOptions {
  readonly runDir: string;
  readonly procPath: string;
  readonly cgroupRoot: string | undefined;
  readonly hostNetns: string | undefined;
  readonly pinDirectory: string;
  /** Whether to include processes that are in no pod. */
  readonly includeHost: boolean;
  readonly decisions: boolean;
}

const CAPACITY = 16_384;
const NAMES_AGE_MS = 500;

/** Names of pods from the state file, read again when a name is missing. */
class PodNames {
  readonly #options: WatchOptions;
  #state: AgentState | undefined;
  #readMs = -Infinity;

  constructor(options: WatchOptions) {
    this.#options = options;
  }

  byUid(uid: string): AgentState['workloads'][number] | undefined {
    return this.#find((status) => status.uid === uid);
  }

  byCgroup(id: string): AgentState['workloads'][number] | undefined {
    return this.#find((status) => status.cgroups.some((cgroup) => cgroup.id === id));
  }

  #find(test: (status: AgentState['workloads'][number]) => boolean): AgentState['workloads'][number] | undefined {
    const found = this.#state?.workloads.find(test);
    if (found !== undefined || performance.now() - this.#readMs < NAMES_AGE_MS) return found;
    const reading = readState(this.#options.runDir, this.#options.procPath);
    this.#readMs = performance.now();
    if (reading.kind === 'state') this.#state = reading.state;
    return this.#state?.workloads.find(test);
  }
}

function nameOf(status: AgentState['workloads'][number] | undefined): string | undefined {
  return status === undefined || status.name === '' ? undefined : `${status.namespace}/${status.name}`;
}

function commOf(procPath: string, pid: number): string | undefined {
  try {
    return readFileSync(`${procPath}/${pid}/comm`, 'utf8').trim();
  } catch {
    return undefined;
  }
}

const places = { pod: 'pod', host: 'host', retry: 'moving', gone: 'gone' } as const satisfies Record<
  ProcessResolution['kind'],
  string
>;

function describe(
  event: string,
  pid: number,
  found: ProcessResolution,
  names: PodNames,
  procPath: string,
): WatchedProcess {
  const status = found.kind === 'pod' ? names.byUid(found.podUid) : undefined;
  return {
    kind: 'process',
    event,
    pid,
    comm: commOf(procPath, pid),
    where: places[found.kind],
    podUid: found.kind === 'pod' ? found.podUid : undefined,
    pod: nameOf(status),
    ips: status?.ips ?? [],
    state: status?.state,
    containerId: found.kind === 'pod' ? found.containerId : undefined,
    cgroupId: 'cgroupId' in found ? String(found.cgroupId) : undefined,
    netnsCookie: found.kind === 'pod' && found.netns !== undefined ? String(found.netns.cookie) : undefined,
  };
}

const processRecords = (options: WatchOptions, names: PodNames): Stream.Stream<WatchRecord, unknown> =>
  Stream.suspend(() => {
    const resolver = new CgroupResolver({
      procPath: options.procPath,
      ...(options.cgroupRoot === undefined ? {} : { cgroupRoot: options.cgroupRoot }),
      ...(options.hostNetns === undefined ? {} : { hostNetns: options.hostNetns }),
    });
    // A process that has ended cannot be looked at, so what it was at its start is remembered while it lives.
    const inPods = new Map<number, WatchedProcess>();
    return fromObservable(watchedEvents(options.procPath), { capacity: CAPACITY }).pipe(
      Stream.flatMap((event) => {
        if (event.kind === 'overrun' || event.kind === 'stream-overrun') {
          // Processes whose ends were lost would be remembered for ever.
          inPods.clear();
          const lost = 'lost' in event && typeof event.lost === 'number' ? event.lost : undefined;
          return Stream.succeed<WatchRecord>({ kind: 'overrun', of: 'processes', lost });
        }
        if (!('pid' in event) || event.pid === undefined) return Stream.empty;
        const { kind, pid } = event;
        if (kind === 'exit') {
          const was = inPods.get(pid);
          inPods.delete(pid);
          return was === undefined ? Stream.empty : Stream.succeed<WatchRecord>({ ...was, event: 'exit' });
        }
        if (kind !== 'exec') return Stream.empty;
        const record = describe(kind, pid, resolver.resolveProcess(pid), names, options.procPath);
        const isWanted = options.includeHost
          ? record.where !== 'gone'
          : record.where === 'pod' || record.where === 'moving';
        if (!isWanted) return Stream.empty;
        inPods.set(pid, record);
        return Stream.succeed<WatchRecord>(record);
      }),
    );
  });

/** Decisions as an Observable. The subscription opens the reader, and its end closes it. */
function decisionsOf(pinDirectory: string): Observable<DecisionRecord | WatchedOverrun> {
  return new Observable((subscriber) => {
    const installed = InstalledDatapath.open(pinDirectory);
    const reader = installed.decisions((batch, dropped) => {
      for (const decision of batch) subscriber.next(decision);
      if (dropped > 0) subscriber.next({ kind: 'overrun', of: 'decisions', lost: dropped });
    });
    return () => {
      reader.close();
      installed.close();
    };
  });
}

const decisionRecords = (options: WatchOptions, names: PodNames): Stream.Stream<WatchRecord, unknown> =>
  fromObservable(decisionsOf(options.pinDirectory), { capacity: CAPACITY }).pipe(
    Stream.map((record): WatchRecord => {
      if ('kind' in record) return { kind: 'overrun', of: 'decisions', lost: record.lost };
      const { pid, comm, ip, port, verdict, reason, workload, cgroupId } = record;
      return {
        kind: 'decision',
        pid,
        comm,
        pod: nameOf(names.byCgroup(String(workload === 0n ? cgroupId : workload))),
        destination: { ip, port },
        verdict: verdict ?? 'unknown',
        reason: reason ?? 'unknown',
      };
    }),
  );

/** Runs until it is interrupted. Fails if the proc connector cannot be opened, or if decisions are wanted and nothing is pinned. */
export const watchNode = (options: WatchOptions): Stream.Stream<WatchRecord, unknown> => {
  const names = new PodNames(options);
  const processes = processRecords(options, names);
  return options.decisions ? Stream.merge(processes, decisionRecords(options, names)) : processes;
};
