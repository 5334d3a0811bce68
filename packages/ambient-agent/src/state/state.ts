// The agent's view as others read it: `sluice status` and `explain`. Plain JSON in the run directory, replaced as a whole.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DatedStatus } from '../enrolment/status.js';
import { replaceFile } from './replace-file.js';

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
    readonly mode: 'node';
    readonly inventory: string;
    readonly cgroupRoot: string;
    readonly pinDirectory: string;
    readonly hostNetns: string;
    readonly hostNetnsCookie: string;
    readonly noZtunnel: 'closed' | 'open';
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
    const state = JSON.parse(text) as AgentState;
    if (state.version !== STATE_VERSION) {
      return {
        kind: 'unusable',
        why: `it is of version ${String(state.version)}, and this command reads version ${STATE_VERSION}`,
      };
    }
    return { kind: 'state', state, isRunning: startTicks(state.agent.pid, procPath) === state.agent.startTicks };
  } catch (error) {
    return { kind: 'unusable', why: (error as Error).message };
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
