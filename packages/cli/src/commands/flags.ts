// Flags that several commands share, and the configuration that results from them and the file.
import { existsSync } from 'node:fs';
import type { AgentConfig } from '@sluice/ambient-agent';
import * as Effect from 'effect/Effect';
import * as Option from 'effect/Option';
import { Flag } from 'effect/cli';
import { loadAgent } from '../agent.js';
import { failureOf, type CommandFailure } from '../exit.js';

/** Read when --config is not given, if it exists. */
export const DEFAULT_CONFIG = '/etc/sluice/config.yaml';

export const output = Flag.Literals('output', ['table', 'json']).pipe(
  Flag.withAlias('o'),
  Flag.withDescription('How to print: a table for people, or JSON'),
  Flag.withDefault('table'),
);

const text = (name: string, metavar: string, description: string): Flag.Flag<Option.Option<string>> =>
  Flag.String(name).pipe(Flag.withMetavar(metavar), Flag.withDescription(description), Flag.optional);

/** Paths, for every command that looks at a node. */
export const placeFlags = {
  config: text('config', 'FILE', `The configuration file (default: ${DEFAULT_CONFIG}, if it exists)`),
  runDir: text('run-dir', 'DIR', 'The directory of the agent’s lock and state (paths.runDir)'),
  bpffs: text('bpffs', 'DIR', 'The BPF file system in which the datapath is pinned (paths.bpffs)'),
};

/** Settings of `run` on the command line. */
export const runFlags = {
  ...placeFlags,
  nodeName: text('node-name', 'NAME', 'The name of this node in Kubernetes (default: $NODE_NAME, or the host name)'),
  inventory: text('inventory', 'DIR', 'The directory of manifests: Namespaces, and Pods with their status'),
  kubeconfig: text('kubeconfig', 'FILE', 'Read the Kubernetes API with this kubeconfig (inventory.source: kubernetes)'),
  cgroupRoot: text(
    'cgroup-root',
    'DIR',
    'Look for pods below this cgroup, and attach to it or in it only (default: the cgroup2 mount)',
  ),
  hostNetns: text('host-netns', 'FILE', "The host's network namespace (default: that of pid 1)"),
  metrics: text('metrics', 'ADDRESS:PORT', 'Serve /metrics, /healthz and /readyz at this address'),
  logLevel: Flag.Literals('log-level', ['debug', 'info', 'warn', 'error']).pipe(
    Flag.withDescription('The lowest level that is logged'),
    Flag.optional,
  ),
  logFormat: Flag.Literals('log-format', ['json', 'pretty']).pipe(
    Flag.withAlias('o'),
    Flag.withDescription('The format of log lines'),
    Flag.optional,
  ),
};

export type FlagValues = Partial<Record<Exclude<keyof typeof runFlags, never>, Option.Option<string>>>;

/** The settings of the file, overridden by those of the command line. */
export const configOf = (flags: FlagValues): Effect.Effect<AgentConfig, CommandFailure> =>
  Effect.gen(function* () {
    const { loadConfig } = yield* loadAgent;
    const given = (name: keyof FlagValues): string | undefined => Option.getOrUndefined(flags[name] ?? Option.none());
    const path = given('config') ?? (existsSync(DEFAULT_CONFIG) ? DEFAULT_CONFIG : undefined);
    const values = {
      nodeName: given('nodeName'),
      inventory: {
        directory: given('inventory'),
        kubeconfig: given('kubeconfig'),
        source: given('kubeconfig') === undefined ? undefined : 'kubernetes',
      },
      paths: {
        runDir: given('runDir'),
        bpffs: given('bpffs'),
        cgroupRoot: given('cgroupRoot'),
        hostNetns: given('hostNetns'),
      },
      metrics: { listen: given('metrics') },
      log: { level: given('logLevel'), format: given('logFormat') },
    };
    return yield* Effect.mapError(loadConfig(path, values), failureOf);
  });
