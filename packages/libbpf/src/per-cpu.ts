// The layout of values in per-CPU maps.
import { native } from './native.js';
import { attempt } from './error.js';

/** The kernel rounds each CPU's value up to this (Documentation/bpf/map_hash.rst). */
const PER_CPU_ALIGNMENT = 8;

let cpus: number | undefined;

/** How many CPUs the kernel allows for, present or not (/sys/devices/system/cpu/possible). */
export function possibleCpus(): number {
  cpus ??= attempt('count the possible CPUs', () => native.possibleCpus());
  return cpus;
}

export function isPerCpu(mapType: string): boolean {
  return mapType.includes('percpu');
}

/** Bytes that the kernel reads or writes for one value. */
export function valueBytes(mapType: string, valueSize: number): number {
  return isPerCpu(mapType) ? perCpuStride(valueSize) * possibleCpus() : valueSize;
}

/** Splits a per-CPU map's value into the values of the CPUs, by CPU number; they are views, not copies. */
export function splitPerCpu(value: Buffer, valueSize: number): Buffer[] {
  const stride = perCpuStride(valueSize);
  return Array.from({ length: Math.floor(value.length / stride) }, (_, cpu) =>
    value.subarray(cpu * stride, cpu * stride + valueSize),
  );
}

function perCpuStride(valueSize: number): number {
  return Math.ceil(valueSize / PER_CPU_ALIGNMENT) * PER_CPU_ALIGNMENT;
}
