// Flags that several commands share, and the configuration that results from them and the file.
import { existsSync } from 'node:fs';
import type { AgentConfig } from '@sluice/ambient-agent';
import * as Effect from 'effect/Effect';
import * as Option from 'effect/Option';
import { CliError, Flag } from 'effect/cli';
import { loadAgent } from '../agent.js';
import { failureOf, type CommandFailure } from '../exit.js';

/** Read when --config is not given, if it exists. */
export const DEFAULT_CONFIG = '/etc/sluice/config.yaml';

const refused = (message: string) => Effect.fail(new CliError.ValidationError({ message }));

/** A flag that is refused when it is given more than once, because only one of its values could count. */
const once = <A>(name: string, description: string, flag: Flag.Flag<A>): Flag.Flag<Option.Option<A>> =>
  flag.pipe(
    Flag.withDescription(description),
    Flag.atLeast(0),
    Flag.mapEffect(([value, ...more]) =>
      more.length > 0
        ? refused(`--${name} is given ${more.length + 1} times; give it once`)
        : Effect.succeed(Option.fromUndefinedOr(value)),
    ),
  );

/** @param metavar what the help calls the value */
export const text = (name: string, metavar: string, description: string): Flag.Flag<Option.Option<string>> => {
  const flag = Flag.String(name).pipe(
    Flag.withMetavar(metavar),
    Flag.mapEffect((value) => (value === '' ? refused(`--${name} needs a value: ${metavar}`) : Effect.succeed(value))),
  );
  return once(name, description, flag);
};

const choice = <const Word extends string>(
  name: string,
  words: readonly Word[],
  description: string,
  alias?: string,
) => {
  const flag = Flag.Literals(name, words);
  return once(name, description, alias === undefined ? flag : Flag.withAlias(flag, alias));
};

export const toggle = (name: string, description: string, alias?: string): Flag.Flag<boolean> => {
  const flag = Flag.Boolean(name);
  const named = alias === undefined ? flag : Flag.withAlias(flag, alias);
  return once(name, description, named).pipe(Flag.map(Option.getOrElse(() => false)));
};

export const output = choice('output', ['table', 'json'], 'How to print: a table for people, or JSON', 'o').pipe(
  Flag.map(Option.getOrElse(() => 'table' as const)),
);

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
  logLevel: choice('log-level', ['debug', 'info', 'warn', 'error'], 'The lowest level that is logged'),
  logFormat: choice('log-format', ['json', 'pretty'], 'The format of log lines', 'o'),
};

export type FlagValues = Partial<Record<keyof typeof runFlags, Option.Option<string>>>;

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
