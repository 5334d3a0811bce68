// What is made of samples: quantiles, and how much a figure differs from round to round.

/** `q` from 0 to 1. */
export function quantile(samples, q) {
  const sorted = Float64Array.from(samples).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
}

/** The median over rounds, and the range in which the middle half of the rounds lies. */
export function overRounds(values) {
  return { median: quantile(values, 0.5), from: quantile(values, 0.25), to: quantile(values, 0.75) };
}
