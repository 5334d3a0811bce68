// The command line of `bench start`.
import { parseArgs } from 'node:util';
import { UsageError } from '../usage-error.js';
import { whole } from '../whole.js';

export interface StartOptions {
  readonly starts: number;
  readonly delays: 'kubelet' | 'none';
  readonly atATime: number;
  readonly seed: number;
  readonly output: 'table' | 'json';
  /** A directory; undefined if nothing is to be kept. */
  readonly out: string | undefined;
}

export const START_USAGE = `start: pods whose application dials with its first instruction, in a loop. Where do the dials go, and how long does the first wait?

  --starts N         how many pods start (default 1000)
  --delays DELAYS    kubelet (default): between the steps of a start a real kubelet's pauses, each half to one and a half of
                     its length; none: no pauses
  --at-a-time N      how many pods start and live at a time (default 8)
  --seed N           what chance decides by: the lengths of the pauses, and which address is dialled (default: another one
                     each time; it is printed)
  --out DIR          keeps samples.jsonl (one line a pod), summary.json and wait.svg there
  -o, --output FORM  table (default) or json: one object
`;

const MAX_AT_A_TIME = 200;
const MAX_SEED = 2 ** 32;

/** 'help', or the options; throws UsageError. */
export function parseStart(argv: readonly string[]): StartOptions | 'help' {
  const { values } = parse(argv);
  if (values.help) return 'help';
  const { delays, output, out } = values;
  if (delays !== 'kubelet' && delays !== 'none')
    throw new UsageError(`--delays ${delays} is unknown; use kubelet or none`);
  if (output !== 'table' && output !== 'json')
    throw new UsageError(`-o ${output} is not a form of output; use table or json`);
  return {
    starts: whole('--starts', values.starts, 1, Number.MAX_SAFE_INTEGER),
    delays,
    atATime: whole('--at-a-time', values['at-a-time'], 1, MAX_AT_A_TIME),
    seed:
      values.seed === undefined ? Math.floor(Math.random() * MAX_SEED) : whole('--seed', values.seed, 0, MAX_SEED - 1),
    output,
    out,
  };
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      options: {
        starts: { type: 'string', default: '1000' },
        delays: { type: 'string', default: 'kubelet' },
        'at-a-time': { type: 'string', default: '8' },
        seed: { type: 'string' },
        out: { type: 'string' },
        output: { type: 'string', short: 'o', default: 'table' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}
