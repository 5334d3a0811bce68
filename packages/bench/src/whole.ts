import { UsageError } from './usage-error.js';

/** The number that an option says; throws UsageError if it is not a whole number from `least` to `most`. */
export function whole(name: string, text: string, least: number, most: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most))
    throw new UsageError(`${name} ${text} is not a whole number from ${least} to ${most}`);
  return value;
}
