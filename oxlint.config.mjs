// What the linter looks for. The directions of imports come from the packages themselves.
import { importRules } from './scripts/lint/import-rules.mjs';

export default {
  plugins: ['typescript', 'unicorn', 'oxc', 'import', 'promise'],
  categories: { correctness: 'error', suspicious: 'error' },
  env: { node: true, es2024: true },
  ignorePatterns: ['**/dist/**', '**/build/**', '**/generated/**'],
  rules: {
    'no-console': 'error',
    eqeqeq: 'error',
    'import/no-cycle': 'error',
    'import/no-unassigned-import': 'off',
    'typescript/no-explicit-any': 'error',
    'typescript/consistent-type-imports': 'error',
    'no-shadow': 'off',
    'unicorn/no-array-sort': 'off',
    'unicorn/consistent-function-scoping': 'off',
    'no-underscore-dangle': 'off',
    'import/no-named-as-default-member': 'off',
    'import/no-named-as-default': 'off',
    'unicorn/prefer-add-event-listener': 'off',
    'no-await-in-loop': 'off',
  },
  overrides: [
    ...importRules(import.meta.dirname),
    {
      files: [
        'packages/cli/src/**/*.ts',
        'packages/demo/src/**/*.ts',
        'packages/deploy/src/generate.ts',
        'packages/deploy/src/make-bundle.ts',
        'packages/deploy/src/uninstall.ts',
        'packages/libbpf/src/generate.ts',
        'scripts/**',
      ],
      rules: { 'no-console': 'off' },
    },
  ],
};
