// The linter's rules about the direction of imports, for a small repository with one wrong import of each kind.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { repositoryPath } from '../src/repository.js';

const directories: string[] = [];
afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true });
});

const readme = '# house\n\n## Floors\n\n- `cellar/`: below.\n- `attic/`: above.\n\n## More\n\n- `garden/`: no floor.\n';
const sound = {
  'packages/house/package.json': '{ "dependencies": { "@sluice/bricks": "0.1.0" } }',
  'packages/house/README.md': readme,
  'packages/house/src/index.ts': "export * from './attic/roof.js';\n",
  'packages/house/src/attic/roof.ts': "export { wine } from '../cellar/wine.js';\n",
  'packages/house/src/cellar/wine.ts': "export { brick as wine } from '@sluice/bricks';\n",
};

/** Runs the linter on a repository with these files: its exit status and its messages. */
function lint(files: Readonly<Record<string, string>>): { status: number | null; output: string } {
  const root = mkdtempSync(join(tmpdir(), 'sluice-imports-'));
  directories.push(root);
  const config = join(root, 'oxlint.config.mjs');
  const rules = JSON.stringify(repositoryPath('scripts/lint/import-rules.mjs'));
  const all = {
    ...files,
    'oxlint.config.mjs': `import { importRules } from ${rules};\nexport default { overrides: importRules(import.meta.dirname) };\n`,
  };
  for (const [path, text] of Object.entries(all)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  const oxlint = repositoryPath('node_modules/.bin/oxlint');
  const { status, stdout, stderr } = spawnSync(oxlint, ['-c', config], { cwd: root, encoding: 'utf8' });
  return { status, output: stdout + stderr };
}

it('lets a package import what it depends on, and a floor what is below it', () => {
  expect(lint(sound)).toMatchObject({ status: 0 });
});

it.each([
  [
    'a floor above',
    'packages/house/src/cellar/wine.ts',
    '../attic/roof.js',
    'cellar/ may import only what is below it: nothing',
  ],
  ['what puts the floors together', 'packages/house/src/attic/roof.ts', '../index.js', 'attic/ may import only'],
  [
    'a package it does not depend on',
    'packages/house/src/attic/roof.ts',
    '@sluice/straw',
    'may import only: @sluice/br',
  ],
  ['the inside of a package', 'packages/house/src/index.ts', '@sluice/bricks/src/clay', 'whole public surface'],
])('refuses the import of %s', (_what, file, imported, message) => {
  const { status, output } = lint({ ...sound, [file]: `export * from '${imported}';\n` });
  expect(output).toContain(message);
  expect(status).toBe(1);
});

it.each([
  ['a folder that is not listed', { 'packages/house/src/shed/rake.ts': 'export const rake = 1;\n' }, 'shed/'],
  ['a listed folder that is not there', { 'packages/house/README.md': readme.replace('attic', 'loft') }, 'loft/'],
])('refuses to lint with %s', (_what, files, name) => {
  const { status, output } = lint({ ...sound, ...files });
  expect(output).toContain(name);
  expect(status).not.toBe(0);
});
