/**
 * The value below which the share `q` (0 to 1) of the values is: the smallest value that at least this share does not exceed.
 * Pure; NaN if there is none.
 */
export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? Number.NaN;
}
