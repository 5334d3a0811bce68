// The agent's view as others read it: `sluice status` and `explain`. Plain JSON in the run directory, replaced as a whole.
import { readFileSync } from 'node:fs';
import * as Schema from 'effect/Schema';
import { join } from 'node:path';
import type { Mode } from '../config/config.js';
import type { DatedStatus } from '../enrolment/status.js';
import type { ZdsConnection } from '../zds/zds.js';
import { replaceFile } from '../run-directory/replace-file.js';

/** Raised when a reader of the former form would go wrong. */
export const STATE_VERSION = 1;

export interface AgentState {
  readonly version: typeof STATE_VERSION;
  /** When this was written, ISO 8601. */
  readonly writtenAt: string;
  readonly agent: {
    readonly version: string;
    readonly pid: number;
    /** Field 22 of /proc/<pid>/stat: with it, a pid that was given anew is not taken for the agent. */
    readonly startTicks: string;
    readonly startedAt: string;
  };
  readonly node: {
    readonly name: string;
    readonly mode: Mode;
    readonly inventory: string;
    readonly cgroupRoot: string;
    readonly pinDirectory: string;
    readonly hostNetns: string;
    readonly hostNetnsCookie: string;
    readonly noZtunnel: 'closed' | 'open';
    readonly pending: 'hold' | 'open';
    readonly resyncIntervalMs: number;
    /** One decision in this many is reported by the datapath; 0 = none. */
    readonly sampling: number;
  };
  readonly ztunnels: {
    readonly ipv4: string | undefined;
    readonly ipv6: string | undefined;
    readonly pods: readonly {
      readonly namespace: string;
      readonly name: string;
      readonly ips: readonly string[];
      readonly isReady: boolean;
      readonly isActive: boolean;
    }[];
  };
  /** In `inPod` mode, where ztunnel asks and which ztunnels are connected, the newest last. */
  readonly zds?: { readonly socket: string; readonly connections: readonly ZdsConnection[] };
  readonly kubelets: readonly { readonly path: string; readonly id: string; readonly level: number }[];
  readonly workloads: readonly DatedStatus[];
  /** Everything that is not as it should be and is no single pod's. */
  readonly problems: readonly string[];
  readonly lastReconcile:
    | {
        readonly at: string;
        readonly durationMs: number;
        readonly written: number;
        readonly removed: number;
        readonly failed: number;
      }
    | undefined;
  /** Since the agent started, by kind. */
  readonly errors: Readonly<Record<string, number>>;
}

export const statePath = (runDir: string): string => join(runDir, 'state.json');

/** Readers see the former file or this one, never a part. Mode 0600. Throws what the file system says. */
export function writeState(runDir: string, state: AgentState): void {
  replaceFile(statePath(runDir), `${JSON.stringify(state)}\n`);
}

export type StateReading =
  | { readonly kind: 'state'; readonly state: AgentState; readonly isRunning: boolean }
  | { readonly kind: 'absent' }
  | { readonly kind: 'unusable'; readonly why: string };

const strings = Schema.Array(Schema.String);

// Of what was read: enough that nobody who goes through it meets a hole. Members of ours that are plain text are not all named.
const readable = Schema.Struct({
  version: Schema.Literal(STATE_VERSION),
  writtenAt: Schema.String,
  agent: Schema.Struct({
    version: Schema.String,
    pid: Schema.Int,
    startTicks: Schema.String,
    startedAt: Schema.String,
  }),
  node: Schema.Struct({
    name: Schema.String,
    cgroupRoot: Schema.String,
    pinDirectory: Schema.String,
    hostNetns: Schema.String,
    hostNetnsCookie: Schema.String,
    resyncIntervalMs: Schema.Finite,
  }),
  ztunnels: Schema.Struct({ pods: Schema.Array(Schema.Struct({ ips: strings })) }),
  kubelets: Schema.Array(Schema.Struct({ path: Schema.String })),
  workloads: Schema.Array(
    Schema.Struct({
      uid: Schema.String,
      namespace: Schema.String,
      name: Schema.String,
      ips: strings,
      cgroups: Schema.Array(Schema.Struct({ path: Schema.String, id: Schema.String })),
      state: Schema.String,
      reason: Schema.String,
      since: Schema.String,
      problems: strings,
    }),
  ),
  problems: strings,
  errors: Schema.Record(Schema.String, Schema.Finite),
});
const anew = 'start the agent, which writes it anew';
const isReadable = Schema.is(readable);

/** What an agent last wrote, and whether that agent still runs. */
export function readState(runDir: string, procPath = '/proc'): StateReading {
  let text: string;
  try {
    text = readFileSync(statePath(runDir), 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return { kind: 'absent' };
    return { kind: 'unusable', why: code === 'EACCES' ? `${message}; run this as root` : message };
  }
  try {
    const value: unknown = JSON.parse(text);
    const version = typeof value === 'object' && value !== null && 'version' in value ? value.version : STATE_VERSION;
    if (version !== STATE_VERSION)
      return {
        kind: 'unusable',
        why: `it is of version ${String(version)}, and this command reads version ${STATE_VERSION}; use the command that came with the agent`,
      };
    if (!isReadable(value)) return { kind: 'unusable', why: `it is not what an agent writes; ${anew}` };
    const state = value as unknown as AgentState;
    return { kind: 'state', state, isRunning: startTicks(state.agent.pid, procPath) === state.agent.startTicks };
  } catch (error) {
    return { kind: 'unusable', why: `${(error as Error).message}; ${anew}` };
  }
}

/** proc_pid_stat(5), field 22: clock ticks from boot to the start of the process. Undefined when it is not there. */
export function startTicks(pid: number, procPath = '/proc'): string | undefined {
  try {
    const stat = readFileSync(join(procPath, String(pid), 'stat'), 'utf8');
    // The second field, the name, may hold blanks and parentheses; the third starts after the last parenthesis.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}
