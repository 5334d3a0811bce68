// The list of test projects. Vitest 4 no longer reads this file by its name, so vitest.config.ts re-exports it.
import { defineConfig } from 'vitest/config';
import { PATIENCE_MS } from './packages/testbed/src/patience.ts';

// Of a test or a hook as a whole, which may wait for several things: only what hangs lasts so long.
const LONGEST_MS = 4 * PATIENCE_MS;

// Of unit and kernel tests together, so that neither waits for the last of the other. The files of kernel tests come first.
const WORKERS = 2;

export default defineConfig({
  test: {
    reporters: ['default', './scripts/count-reporter.ts'],
    setupFiles: ['./scripts/seed-random-tests.ts'],
    testTimeout: LONGEST_MS,
    hookTimeout: LONGEST_MS,
    expect: { poll: { interval: 20, timeout: PATIENCE_MS } },
    // What was built is JavaScript that Node can import by itself.
    server: { deps: { external: [/\/packages\/[^/]+\/dist\//] } },
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['packages/*/test/**/*.test.ts'],
          exclude: ['**/*.kernel.test.ts', '**/*.cluster.test.ts'],
          maxWorkers: WORKERS,
        },
      },
      {
        // Real namespaces, cgroups, sockets and BPF: needs root. What a machine lacks is skipped by name.
        extends: true,
        test: {
          name: 'kernel',
          include: ['packages/*/test/**/*.kernel.test.ts'],
          pool: 'forks',
          maxWorkers: WORKERS,
        },
      },
      {
        // A real Kubernetes cluster: needs what scripts/cluster/run.sh builds and puts into PATH. Not in `npm test`.
        extends: true,
        test: {
          name: 'cluster',
          include: ['packages/*/test/**/*.cluster.test.ts'],
          pool: 'forks',
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
