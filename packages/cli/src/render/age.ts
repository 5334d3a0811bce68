// Durations in the manner of kubectl: 5s, 3m, 7h, 12d.

const steps = [
  ['d', 86_400],
  ['h', 3600],
  ['m', 60],
] as const;

/** Pure. A time that cannot be read or lies in the future is 0s. */
export function age(since: string, now: Date): string {
  const seconds = Math.max(0, Math.floor((now.getTime() - Date.parse(since)) / 1000)) || 0;
  for (const [unit, length] of steps) if (seconds >= 2 * length) return `${Math.floor(seconds / length)}${unit}`;
  return `${seconds}s`;
}
