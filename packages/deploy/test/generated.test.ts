// What is committed and made from something else is what would be made now.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { generated, repositoryPath, validateManifests } from '../src/index.js';
import { explanations, settings } from '../src/configuration-reference.js';

describe('generated files', () => {
  for (const { path, missing, content } of generated) {
    it.skipIf(missing !== undefined)(
      `${path} is current (npm run generate)${missing ? ` [skipped: needs ${missing}]` : ''}`,
      async () => {
        expect(readFileSync(repositoryPath(path), 'utf8')).toBe(await content());
      },
    );
  }

  it('deploy/manifest.yaml is valid, with or without helm here', () => {
    const { objects, issues } = validateManifests(readFileSync(repositoryPath('deploy/manifest.yaml'), 'utf8'));
    expect(issues).toEqual([]);
    expect(objects.map(({ kind }) => kind).sort()).toEqual([
      'ClusterRole',
      'ClusterRoleBinding',
      'ConfigMap',
      'DaemonSet',
      'Role',
      'RoleBinding',
      'ServiceAccount',
    ]);
  });
});

describe('the configuration reference', () => {
  const schema = {
    type: 'object',
    properties: {
      name: { type: 'string' },
      log: { type: 'object', properties: { level: { type: 'string', enum: ['a', 'b'] }, place: { type: 'string' } } },
      extra: { type: 'object', properties: { at: { type: 'string' } } },
      ports: { type: 'array', items: { type: 'integer', minimum: 1, maximum: 9 } },
    },
  };
  const example = `# Head of the file.

# Whose it is.
# name: x

# How it is logged.
log:
  level: a # the default
  # place: where lines go.

# Nothing unless told to.
# extra:
#   at: here

# Which.
ports:
  - 1
  - 2
`;

  it('takes types from the schema, and words and defaults from the example', () => {
    expect(settings(schema, example)).toEqual([
      { path: 'name', type: 'string', fallback: undefined, description: 'Whose it is.' },
      { path: 'log.level', type: '`a` or `b`', fallback: 'a # the default', description: 'How it is logged.' },
      { path: 'log.place', type: 'string', fallback: undefined, description: 'Where lines go.' },
      { path: 'extra.at', type: 'string', fallback: undefined, description: 'Nothing unless told to.' },
      { path: 'ports', type: 'list of integers, 1 to 9', fallback: '- 1\n- 2', description: 'Which.' },
    ]);
  });

  it('misses a setting that the example does not say', () => {
    const more = { ...schema, properties: { ...schema.properties, fresh: { type: 'boolean' } } };
    expect(() => settings(more, example)).toThrow('fresh');
  });

  it('reads nothing that is no setting', () => {
    expect([...explanations('# note: this is prose\nname: y\n', (path) => path === 'name').keys()]).toEqual(['name']);
  });
});
