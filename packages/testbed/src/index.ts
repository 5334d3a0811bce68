// The testbed's public surface: what tests, the demo and the benchmarks share.
export { cgroup2Mount, findProgram, requires, type Gate, type Need } from './requires.js';
