// The command line of `bench soak`.
import { parseArgs } from 'node:util';
import { UsageError } from '../usage-error.js';
import { whole } from '../whole.js';
import { BIRTHS, STEP_KINDS, UNPAUSED } from './random-steps.js';
import { LIES, STARTS } from './steps.js';

export interface SoakOptions {
  /** Runs begin until this time is over. */
  readonly minutes: number;
  readonly seed: number;
  /** Of one run. */
  readonly steps: number;
  readonly patienceMs: number;
  readonly shrinkMinutes: number;
  readonly without: ReadonlySet<string>;
  /** A file with the steps of a run, which is played again; undefined for random runs. */
  readonly replay: string | undefined;
  /** Whether it goes on after a failure. */
  readonly keepsGoing: boolean;
  readonly out: string | undefined;
}

export const SOAK_USAGE = `soak: random things happen to pods, to what Kubernetes says of them, to the agent and to ztunnel, while every pod dials and is
dialled all the time. Is every connection accepted by the right party, and do the maps become what a model of the policy says?

  --minutes N        runs begin until this time is over (default 10)
  --seed N           of the first run; each further one adds 1 (default: another one each time; it is printed)
  --steps N          of one run, on a node of its own (default 40)
  --patience N       how long everything may take to settle, in seconds (default 60)
  --shrink-minutes N how long shorter lists of steps are tried that fail, too (default 10)
  --without A,B      leaves out these kinds of steps, starts and lies:
                     ${STEP_KINDS.join(' ')}
                     ${STARTS.join(' ')} ${UNPAUSED} ${LIES.join(' ')}
                     ${BIRTHS}: what happens to a pod before it has settled for the first time
  --keep-going       further runs after a failure
  --replay FILE      one run with the steps of this file, which a failure has left in --out
  --out DIR          keeps each failure there: failure-SEED.json
`;

/** 'help', or the options; throws UsageError. */
export function parseSoak(argv: readonly string[]): SoakOptions | 'help' {
  const { values } = parse(argv);
  if (values.help) return 'help';
  const without = new Set((values.without ?? '').split(',').filter((word) => word !== ''));
  const known: readonly string[] = [...STEP_KINDS, ...STARTS, UNPAUSED, ...LIES, BIRTHS];
  for (const word of without)
    if (!known.includes(word)) throw new UsageError(`--without ${word} is no kind of step, start or lie`);
  return {
    minutes: whole('--minutes', values.minutes, 0, 100_000),
    seed:
      values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : whole('--seed', values.seed, 0, 2 ** 32 - 1),
    steps: whole('--steps', values.steps, 1, 10_000),
    patienceMs: whole('--patience', values.patience, 1, 3600) * 1000,
    shrinkMinutes: whole('--shrink-minutes', values['shrink-minutes'], 0, 1000),
    without,
    replay: values.replay,
    keepsGoing: values['keep-going'],
    out: values.out,
  };
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      options: {
        minutes: { type: 'string', default: '10' },
        seed: { type: 'string' },
        steps: { type: 'string', default: '40' },
        patience: { type: 'string', default: '60' },
        'shrink-minutes': { type: 'string', default: '10' },
        without: { type: 'string' },
        replay: { type: 'string' },
        'keep-going': { type: 'boolean', default: false },
        out: { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}
