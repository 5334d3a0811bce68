// Flags that several commands share, and the configuration that they and the file make.
import { existsSync } from 'node:fs';
import type { AgentConfig } from '@sluice/ambient-agent';
import * as Effect from 'effect/Effect';
import * as Option from 'effect/Option';
import { Flag } from 'effect/cli';
import { loadAgent } from '../agent.js';
import { failureOf, type CommandFailure } from '../exit.js';

/** Read when --config is not given, if it is there. */
export const DEFAULT_CONFIG = '/etc/sluice/config.yaml';

export const output = Flag.Literals('output', ['table', 'json']).pipe(
  Flag.withAlias('o'),
  Flag.withDescription('How to print: a table for people, or JSON'),
  Flag.withDefault('table'),
);

const text = (name: string, metavar: string, description: string): Flag.Flag<Option.Option<string>> =>
  Flag.String(name).pipe(Flag.withMetavar(metavar), Flag.withDescription(description), Flag.optional);

/** Where things are: for every command that looks at a node. */
export const placeFlags = {
  config: text('config', 'FILE', `The configuration file (default: ${DEFAULT_CONFIG}, if it is there)`),
  runDir: text('run-dir', 'DIR', 'Where the agent keeps its lock and its state (paths.runDir)'),
  bpffs: text('bpffs', 'DIR', 'The BPF file system that the datapath is pinned in (paths.bpffs)'),
};

/** What `run` can also be told on the command line. */
export const runFlags = {
  ...placeFlags,
  nodeName: text('node-name', 'NAME', 'The name of this node in Kubernetes (default: $NODE_NAME, or the host name)'),
  inventory: text('inventory', 'DIR', 'The directory of manifests: Namespaces, and Pods with their status'),
  kubeconfig: text('kubeconfig', 'FILE', 'Read the Kubernetes API, by this file (inventory.source: kubernetes)'),
  cgroupRoot: text('cgroup-root', 'DIR', 'Attach here and look for pods below it (default: the cgroup2 mount)'),
  hostNetns: text('host-netns', 'FILE', "The host's network namespace (default: that of pid 1)"),
  metrics: text('metrics', 'ADDRESS:PORT', 'Serve /metrics, /healthz and /readyz there'),
  logLevel: Flag.Literals('log-level', ['debug', 'info', 'warn', 'error']).pipe(
    Flag.withDescription('The least level that is logged'),
    Flag.optional,
  ),
  logFormat: Flag.Literals('log-format', ['json', 'pretty']).pipe(
    Flag.withAlias('o'),
    Flag.withDescription('How lines are logged'),
    Flag.optional,
  ),
};

export type FlagValues = Partial<Record<Exclude<keyof typeof runFlags, never>, Option.Option<string>>>;

/** The file, and over it what was given on the command line. */
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
