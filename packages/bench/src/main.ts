#!/usr/bin/env node
// npm run bench -- BENCHMARK [options]: one benchmark a subcommand.
import { requires, sweep } from '@sluice/testbed';
import { parseSoak, SOAK_USAGE } from './soak/options.js';
import { benchSoak } from './soak/soak.js';
import { parseStart, START_USAGE } from './start/options.js';
import { benchStart } from './start/start.js';
import { UsageError } from './usage-error.js';

const USAGE = `Measures Sluice against what is promised of it. It needs root, and leaves nothing behind, also when it is interrupted.

usage: npm run bench -- BENCHMARK [options]

${START_USAGE}
${SOAK_USAGE}
Exit code 0: everything was as promised. 1: something was not, or the benchmark could not run. 2: wrong usage.
`;

/** What each benchmark makes of its arguments: itself, ready to run, or 'help'. */
const BENCHMARKS: Readonly<Record<string, (argv: readonly string[]) => (() => Promise<boolean>) | 'help'>> = {
  start: (argv) => {
    const options = parseStart(argv);
    return options === 'help' ? options : () => benchStart(options);
  },
  soak: (argv) => {
    const options = parseSoak(argv);
    return options === 'help' ? options : () => benchSoak(options);
  },
};

async function run([name = '--help', ...rest]: readonly string[]): Promise<number> {
  const parse = Object.hasOwn(BENCHMARKS, name) ? BENCHMARKS[name] : undefined;
  const isHelp = name === '-h' || name === '--help';
  if (parse === undefined && !isHelp)
    throw new UsageError(`${name} is not a benchmark; use ${Object.keys(BENCHMARKS).join(' or ')}`);
  const benchmark = parse?.(rest) ?? 'help';
  if (benchmark === 'help') {
    process.stdout.write(USAGE);
    return 0;
  }
  const { skip, label } = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
  if (skip) {
    process.stderr.write(`bench: it cannot run here${label.replace('skipped: ', '')}\n`);
    return 1;
  }
  // Removes what a benchmark left that was killed with -9.
  sweep();
  return (await benchmark()) ? 0 : 1;
}

async function main(): Promise<number> {
  try {
    return await run(process.argv.slice(2));
  } catch (error) {
    if (error instanceof UsageError) {
      process.stderr.write(`bench: ${error.message}\n\n${USAGE}`);
      return 2;
    }
    process.stderr.write(`bench: ${(error instanceof Error ? error.stack : undefined) ?? String(error)}\n`);
    return 1;
  }
}

process.exitCode = await main();
