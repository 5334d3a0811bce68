// The demo's command line.
import { parseArgs } from 'node:util';

/** Where ztunnel listens; see docs/architecture.md. */
export type Mode = 'node' | 'inPod';

/** Where the agent reads what is wanted; see docs/architecture.md. */
export type Source = 'static' | 'kubernetes';

export interface DemoOptions {
  readonly mode: Mode;
  readonly source: Source;
  readonly output: 'table' | 'json';
  /** Only what has to work on every supported kernel: both families, v4-mapped, and the way into a meshed pod. */
  readonly core: boolean;
}

export const USAGE = `Shows Sluice's main job on a small node made of network namespaces and cgroups, with real processes and sockets.

usage: npm run demo -- [options]

  --mode MODE        inPod (default): ztunnel listens in every pod, as since Istio 1.23; node: in a pod of its own
  --source SOURCE    static (default): manifests in a directory; kubernetes: an API server, a stand-in on loopback
  -o, --output FORM  table (default) or json: one line of JSON a row
  --core             only the rows that have to work on every supported kernel
  -h, --help         this text

Exit code 0: every row is as it should be. 1: at least one is not, or the demo could not run. 2: wrong usage.
It needs root, and leaves nothing behind, also when it is interrupted.
`;

/** What is wrong with the command line, in words. */
export class UsageError extends Error {}

/** 'help', or the options; throws UsageError. */
export function parseOptions(argv: readonly string[]): DemoOptions | 'help' {
  const { values } = parse(argv);
  if (values.help) return 'help';
  if (values.mode !== 'node' && values.mode !== 'inPod') {
    throw new UsageError(`--mode ${values.mode} is not a mode; use inPod or node`);
  }
  if (values.source !== 'static' && values.source !== 'kubernetes') {
    throw new UsageError(`--source ${values.source} is not a source; use static or kubernetes`);
  }
  if (values.output !== 'table' && values.output !== 'json') {
    throw new UsageError(`-o ${values.output} is not a form of output; use table or json`);
  }
  return { mode: values.mode, source: values.source, output: values.output, core: values.core };
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      options: {
        mode: { type: 'string', default: 'inPod' },
        source: { type: 'string', default: 'static' },
        output: { type: 'string', short: 'o', default: 'table' },
        core: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}
