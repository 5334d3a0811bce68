// Which machine a figure comes from: without it the figure means nothing.
import { cpus, loadavg, release } from 'node:os';

export interface Machine {
  readonly kernel: string;
  readonly cpu: string;
  readonly cores: number;
  /** The average of the last minute, before the benchmark. */
  readonly load: number;
  readonly node: string;
  readonly at: string;
}

export function thisMachine(): Machine {
  return {
    kernel: release(),
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    load: loadavg()[0] ?? Number.NaN,
    node: process.version,
    at: new Date().toISOString(),
  };
}
