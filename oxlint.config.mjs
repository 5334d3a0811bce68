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
    'typescript/no-misused-promises': 'error',
    'typescript/no-unsafe-argument': 'error',
    'typescript/no-unsafe-assignment': 'error',
    'typescript/no-unsafe-call': 'error',
    'typescript/no-unsafe-member-access': 'error',
    'typescript/no-unsafe-return': 'error',
    // What was caught may be passed on as it is.
    'typescript/only-throw-error': ['error', { allowThrowingUnknown: true }],
    'typescript/prefer-promise-reject-errors': ['error', { allowThrowingUnknown: true }],
    'typescript/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
    // `noImplicitReturns` of tsconfig.base.json says it, and knows a switch that has every case and a generator of Effect's.
    'typescript/consistent-return': 'off',
  },
  overrides: [
    ...importRules(import.meta.dirname),
    {
      // Plain JavaScript says no types: whatever comes from elsewhere is `any` there.
      files: ['**/*.mjs'],
      rules: {
        'typescript/no-unsafe-argument': 'off',
        'typescript/no-unsafe-assignment': 'off',
        'typescript/no-unsafe-call': 'off',
        'typescript/no-unsafe-member-access': 'off',
        'typescript/no-unsafe-return': 'off',
      },
    },
    {
      files: ['packages/*/test/**'],
      rules: {
        // A test asserts what the value is in the next line, and gives what no type allows on purpose.
        'typescript/no-unsafe-type-assertion': 'off',
        // The matchers of vitest, such as expect.stringContaining(), are `any`.
        'typescript/no-unsafe-assignment': 'off',
      },
    },
    {
      // Effect's types of a schema in its encoded form, and of JSON schema, do not say what the declaration puts there.
      files: ['packages/ambient-agent/src/config/declare.ts'],
      rules: { 'typescript/no-unsafe-type-assertion': 'off' },
    },
    {
      // What an addon exports has no types but those that stand in these files.
      files: ['packages/*/src/native.ts'],
      rules: { 'typescript/no-unsafe-type-assertion': 'off' },
    },
    {
      files: ['packages/*/test/**/*.ts'],
      rules: {
        // They give up after a second, or after whatever each call says.
        'no-restricted-properties': [
          'error',
          ...['waitFor', 'waitUntil'].map((property) => ({
            object: 'vi',
            property,
            message: 'expect.poll, or until of @sluice/testbed, waits with the one limit there is',
          })),
        ],
      },
    },
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
