// The list of test projects. Vitest 4 no longer reads this file by its name, so vitest.config.ts re-exports it.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    reporters: ['default', './scripts/count-reporter.ts'],
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['packages/*/test/**/*.test.ts'],
          exclude: ['**/*.kernel.test.ts', '**/*.cluster.test.ts'],
          sequence: { groupOrder: 0 },
        },
      },
      {
        // Real namespaces, cgroups, sockets and BPF: needs root. What a machine lacks is skipped by name.
        extends: true,
        test: {
          name: 'kernel',
          include: ['packages/*/test/**/*.kernel.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          pool: 'forks',
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        // A real Kubernetes cluster: needs what scripts/cluster/run.sh builds and puts into PATH. Not in `npm test`.
        extends: true,
        test: {
          name: 'cluster',
          include: ['packages/*/test/**/*.cluster.test.ts'],
          testTimeout: 600_000,
          hookTimeout: 600_000,
          pool: 'forks',
          maxWorkers: 1,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
