// The package's public surface: how starts of pods are counted, for tests that start pods in other ways. The benchmarks are main.ts.
export { sampleOf, type Sample } from './start/sample.js';
export { summaryOf, type StartSummary } from './start/summary.js';
export { startTable } from './start/table.js';
