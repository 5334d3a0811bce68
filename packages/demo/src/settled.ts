// A connection that is tried until it is as it ought to be: the agent has to notice a change first.
import type { DialResult } from '@sluice/testbed';
import { rowOf, type Expectation, type Row } from './row.js';
import { until } from './until.js';

/** Anything that can dial. */
export interface Caller {
  dial(to: string): Promise<DialResult>;
}

export async function settledRow(
  what: string,
  from: string,
  caller: Caller,
  to: string,
  expected: Expectation,
): Promise<Row> {
  const { result, elapsedMs } = await until(
    async () => rowOf(what, from, await caller.dial(to), expected),
    ({ ok }) => ok,
  );
  return { ...result, afterMs: Math.ceil(elapsedMs) };
}
