// The `sluice` command as a whole.
import { Command } from 'effect/cli';
import { cleanup } from './commands/cleanup.js';
import { explain } from './commands/explain.js';
import { logLevel } from './commands/log-level.js';
import { run } from './commands/run.js';
import { status } from './commands/status.js';
import { version } from './commands/version.js';
import { watch } from './commands/watch.js';

export const sluice = Command.make('sluice').pipe(
  Command.withDescription(
    'Puts the pods of a node into an Istio ambient mesh with BPF at connect(): no CNI plugin, no iptables. ' +
      'Exit codes: 0 it worked; 1 it failed; 2 the command line or the configuration cannot be understood; ' +
      '3 the agent is not running, its state is old, or the kernel differs from it (status --verify).',
  ),
  Command.withExamples([
    { command: 'sluice run --config /etc/sluice/config.yaml', description: 'Run the agent' },
    { command: 'sluice status', description: 'Show which pods are in the mesh, and why' },
    {
      command: 'sluice explain --pod shop/cart --to 10.1.2.3:80',
      description: 'Show where a connection goes, and why',
    },
  ]),
  Command.withSubcommands([run, status, watch, explain, logLevel, cleanup, version]),
);
