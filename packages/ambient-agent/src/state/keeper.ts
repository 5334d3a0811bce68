// Writes the state file after each pass, and logs what changed from one pass to the next.
import * as Duration from 'effect/Duration';
import * as Effect from 'effect/Effect';
import type { AgentConfig } from '../config/config.js';
import { dateStatuses, type DatedStatus } from '../enrolment/status.js';
import { messageOf } from '../failure/message-of.js';
import { pinDirectory } from '../config/pin-directory.js';
import { metrics } from '../observe/metrics.js';
import type { PassResult } from '../reconcile/pass.js';
import type { KeptFile } from '../run-directory/kept-file.js';
import { contentOf, startTicks, type AgentState } from './state.js';

export interface KeeperPlaces {
  readonly cgroupRoot: string;
  readonly hostNetns: string;
  readonly version: string;
}

interface Passed {
  readonly result: PassResult;
  readonly durationMs: number;
  readonly at: Date;
}

// The file is refreshed this often, so that its age shows whether the agent lives.
const REFRESH_MS = 10_000;

export class StateKeeper {
  readonly #config: AgentConfig;
  readonly #places: KeeperPlaces;
  readonly #file: KeptFile<AgentState>;
  readonly #startedAt = new Date().toISOString();
  #workloads: readonly DatedStatus[];
  #problems: readonly string[] = [];
  #written = '';
  #writtenMs = 0;
  #refusal: string | undefined;
  #last: Passed | undefined;

  /** @param before what an earlier agent wrote; its dates are kept */
  constructor(config: AgentConfig, places: KeeperPlaces, file: KeptFile<AgentState>, before: AgentState | undefined) {
    this.#config = config;
    this.#places = places;
    this.#file = file;
    this.#workloads = before?.workloads ?? [];
  }

  /** As of the last pass. */
  get workloads(): readonly DatedStatus[] {
    return this.#workloads;
  }

  /** Logs what is new, and writes the file. Never fails; a file that cannot be written is logged. */
  passed(result: PassResult, durationMs: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      const before = this.#workloads;
      const beforeProblems = new Set(this.#problems);
      this.#workloads = dateStatuses(result.statuses, before, new Date());
      this.#problems = result.problems;
      this.#last = { result, durationMs, at: new Date() };
      const log = [
        ...changes(before, this.#workloads),
        ...result.problems.filter((text) => !beforeProblems.has(text)).map((text) => Effect.logWarning(text)),
      ];
      return Effect.andThen(Effect.all(log, { discard: true }), this.#write(this.#last));
    });
  }

  /** Writes what the last pass has found, with the problem that there has been none since. */
  failed(problem: string): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.#last === undefined) return Effect.void;
      const { result } = this.#last;
      return this.#write({ ...this.#last, result: { ...result, problems: [...result.problems, problem] } });
    });
  }

  #write(passed: Passed): Effect.Effect<void> {
    return Effect.flatMap(metrics.errorCounts, (errors) => {
      const state = this.#state(passed, errors);
      const comparable = contentOf(state);
      const nowMs = performance.now();
      if (comparable === this.#written && nowMs - this.#writtenMs < REFRESH_MS) return Effect.void;
      try {
        this.#file.replace(state);
        this.#written = comparable;
        this.#writtenMs = nowMs;
        this.#refusal = undefined;
        return Effect.void;
      } catch (error) {
        const refusal = `the state file cannot be written, so \`sluice status\` shows an older state: ${messageOf(error)}`;
        const isNew = refusal !== this.#refusal;
        this.#refusal = refusal;
        return Effect.andThen(metrics.error('state-file'), isNew ? Effect.logError(refusal) : Effect.void);
      }
    });
  }

  #state({ result, durationMs, at }: Passed, errors: AgentState['errors']): AgentState {
    const { ztunnels, kubelets, hostNetnsCookie, connections, applied, plan, guard, problems } = result;
    const { mode, paths, nodeName, inventory, policy, zds, resyncInterval, sampling, ambient } = this.#config;
    return {
      version: 1,
      writtenAt: new Date().toISOString(),
      agent: {
        version: this.#places.version,
        pid: process.pid,
        startTicks: startTicks(process.pid, paths.proc) ?? '',
        startedAt: this.#startedAt,
      },
      node: {
        name: nodeName,
        mode,
        inventory: inventory.source === 'kubernetes' ? 'the Kubernetes API' : inventory.directory,
        cgroupRoot: this.#places.cgroupRoot,
        pinDirectory: pinDirectory(paths.bpffs),
        hostNetns: this.#places.hostNetns,
        hostNetnsCookie: String(hostNetnsCookie),
        noZtunnel: policy.noZtunnel,
        pending: policy.pending,
        resyncIntervalMs: Duration.toMillis(resyncInterval),
        sampling,
        ipv6: ambient.ipv6,
      },
      ztunnels: {
        ipv4: ztunnels.ipv4,
        ipv6: ztunnels.ipv6,
        pods: ztunnels.pods.map(({ uid, namespace, name, ips, isReady }) => ({
          namespace,
          name,
          ips,
          isReady,
          isActive: uid === ztunnels.active?.uid,
        })),
      },
      ...(mode === 'inPod' ? { zds: { socket: zds.socket, connections } } : {}),
      kubelets: kubelets.map(({ cgroupPath, cgroupId, level }) => ({ path: cgroupPath, id: String(cgroupId), level })),
      workloads: this.#workloads,
      maps: applied.wanted,
      programs: Object.fromEntries(
        [...plan].map(([program, places]) => [program, places.map(({ path, id }) => ({ path, id: String(id) }))]),
      ),
      guard,
      problems,
      lastReconcile: {
        at: at.toISOString(),
        durationMs: Math.round(durationMs * 10) / 10,
        written: applied.written,
        removed: applied.removed,
        failed: applied.failures.length,
      },
      errors,
    };
  }
}

/** `route`, or `rewrite: ` and why; nothing for a pod that is not captured. */
function captureField({ capture }: DatedStatus): { readonly capture?: string } {
  if (capture === undefined) return {};
  return { capture: capture.by === 'rewrite' ? `rewrite: ${capture.because}` : capture.by };
}

/** A log line for each pod that is new, gone, or changed. */
function changes(before: readonly DatedStatus[], after: readonly DatedStatus[]): Effect.Effect<void>[] {
  const was = new Map(before.map((status) => [status.uid, status]));
  const lines: Effect.Effect<void>[] = [];
  for (const status of after) {
    const old = was.get(status.uid);
    was.delete(status.uid);
    const fields = {
      pod: `${status.namespace}/${status.name}`,
      uid: status.uid,
      state: status.state,
      reason: status.reason,
    };
    const isSame =
      old?.state === status.state && old.reason === status.reason && old.capture?.by === status.capture?.by;
    if (!isSame) lines.push(Effect.logInfo('workload', { ...fields, ...captureField(status) }));
    const known = new Set(old?.problems);
    for (const problem of status.problems)
      if (!known.has(problem)) lines.push(Effect.logWarning('workload', { ...fields, problem }));
  }
  for (const { uid, namespace, name } of was.values())
    lines.push(Effect.logInfo('workload gone', { pod: `${namespace}/${name}`, uid }));
  return lines;
}
