#!/usr/bin/env node
// npm run demo: Sluice's main job, on a small node made of namespaces and cgroups.
import { requires, sweep } from '@sluice/testbed';
import { createNode } from './demo-node.js';
import { USAGE, UsageError, parseOptions, type DemoOptions } from './options.js';
import { Report } from './report.js';
import { play } from './scenario.js';

async function run(options: DemoOptions): Promise<number> {
  const { skip, label } = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
  if (skip) {
    process.stderr.write(`demo: it cannot run here${label.replace('skipped: ', '')}\n`);
    return 1;
  }
  // Removes what a demo left that was killed with -9.
  sweep();
  const report = new Report(options.output);
  await using node = await createNode(options.source);
  await play(node, report, options);
  return report.finish() ? 0 : 1;
}

async function main(): Promise<number> {
  try {
    const options = parseOptions(process.argv.slice(2));
    if (options !== 'help') return await run(options);
    process.stdout.write(USAGE);
    return 0;
  } catch (error) {
    if (error instanceof UsageError) {
      process.stderr.write(`demo: ${error.message}\n\n${USAGE}`);
      return 2;
    }
    process.stderr.write(`demo: ${(error instanceof Error ? error.stack : undefined) ?? String(error)}\n`);
    return 1;
  }
}

process.exitCode = await main();
