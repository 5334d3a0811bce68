// The agent's view of the node, as plain JSON in the run directory, for `sluice status` and `explain`.
import { join } from 'node:path';
import { readProcess } from '@sluice/linux';
import * as Schema from 'effect/Schema';
import { DatedStatus } from '../enrolment/status.js';
import { Decimal, KeptFile } from '../run-directory/kept-file.js';
import { ZdsConnection } from '../zds/zds.js';

const strings = Schema.Array(Schema.String);

export const AgentState = Schema.Struct({
  /** Raised when readers of the former form would go wrong. */
  version: Schema.Literal(1),
  /** When this was written, ISO 8601. */
  writtenAt: Schema.String,
  agent: Schema.Struct({
    version: Schema.String,
    pid: Schema.Int,
    /** Field 22 of /proc/<pid>/stat, with which another process that has the pid later is not taken for the agent. */
    startTicks: Schema.String,
    startedAt: Schema.String,
  }),
  node: Schema.Struct({
    name: Schema.String,
    mode: Schema.Literals(['node', 'inPod']),
    inventory: Schema.String,
    cgroupRoot: Schema.String,
    pinDirectory: Schema.String,
    hostNetns: Schema.String,
    hostNetnsCookie: Decimal,
    /** Earlier versions wrote `closed` for `refuse`. */
    noZtunnel: Schema.Literals(['hold', 'refuse', 'open', 'closed']),
    pending: Schema.Literals(['hold', 'refuse', 'open']),
    resyncIntervalMs: Schema.Finite,
    /** The datapath reports one decision in this many; 0 means none. */
    sampling: Schema.Finite,
    /** Whether pods' network namespaces are prepared for IPv6, too. */
    ipv6: Schema.optionalKey(Schema.Boolean),
  }),
  ztunnels: Schema.Struct({
    ipv4: Schema.optional(Schema.String),
    ipv6: Schema.optional(Schema.String),
    pods: Schema.Array(
      Schema.Struct({
        namespace: Schema.String,
        name: Schema.String,
        ips: strings,
        isReady: Schema.Boolean,
        isActive: Schema.Boolean,
      }),
    ),
  }),
  /** In `inPod` mode, the ZDS socket and the connected ztunnels, of which the newest comes last. */
  zds: Schema.optionalKey(Schema.Struct({ socket: Schema.String, connections: Schema.Array(ZdsConnection) })),
  kubelets: Schema.Array(Schema.Struct({ path: Schema.String, id: Decimal, level: Schema.Int })),
  workloads: Schema.Array(DatedStatus),
  /** What the maps ought to hold: the datapath's WantedEntries. Earlier versions left this and `ipv6` out. */
  maps: Schema.optionalKey(Schema.Record(Schema.String, Schema.Record(Schema.String, strings))),
  /** Where each program ought to be attached. Earlier versions attached all of them to `cgroupRoot`. */
  programs: Schema.optionalKey(
    Schema.Record(Schema.String, Schema.Array(Schema.Struct({ path: Schema.String, id: Decimal }))),
  ),
  /** The parts of the guard that are attached. Earlier versions left this out. */
  guard: Schema.optionalKey(strings),
  /** Problems that belong to no single pod. */
  problems: strings,
  lastReconcile: Schema.optional(
    Schema.Struct({
      at: Schema.String,
      durationMs: Schema.Finite,
      written: Schema.Finite,
      removed: Schema.Finite,
      failed: Schema.Finite,
    }),
  ),
  /** Since the agent started, by kind. */
  errors: Schema.Record(Schema.String, Schema.Finite),
});
export type AgentState = typeof AgentState.Type;

/** The state without the parts that change with every write, to see whether there is anything new. */
export const contentOf = (state: AgentState): string =>
  JSON.stringify({ ...state, writtenAt: '', lastReconcile: undefined });

export const stateFile = (runDir: string): KeptFile<AgentState> =>
  new KeptFile(join(runDir, 'state.json'), Schema.fromJsonString(AgentState));

export type StateReading =
  | { readonly kind: 'state'; readonly state: AgentState; readonly isRunning: boolean }
  | { readonly kind: 'absent' }
  | { readonly kind: 'unusable'; readonly why: string };

/** The state that an agent last wrote, and whether that agent still runs. */
export function readState(runDir: string, procPath = '/proc'): StateReading {
  const reading = stateFile(runDir).read();
  if (reading.kind !== 'kept') return reading;
  const { value: state } = reading;
  return { kind: 'state', state, isRunning: startTicks(state.agent.pid, procPath) === state.agent.startTicks };
}

/** Undefined if there is no such process. */
export const startTicks = (pid: number, procPath: string): string | undefined =>
  readProcess(procPath, pid)?.startTime.toString();
