// How a declared setting reaches the generated files, for a small declaration; and whether the committed files are valid.
import { readFileSync } from 'node:fs';
import { notInChart, optional, jsonSchemaOf, section, setting } from '@sluice/ambient-agent';
import * as Schema from 'effect/Schema';
import { describe, expect, it } from 'vitest';
import { chartSchema, chartTemplate, chartValues, exampleFile, referencePage } from '../src/configuration.js';
import { repositoryPath } from '../src/index.js';
import { validateManifests } from './kubernetes-schema.js';

const word = Schema.Literals(['a', 'b']);
const names = Schema.Array(Schema.String);
const declared = jsonSchemaOf(
  section('Head of the file.', {
    mode: setting(word, 'a', { description: 'One | or the other.', chart: { writes: 'b' } }),
    names: setting(names, ['x', 'y'], { description: 'Whose they are.', formerly: 'log.names' }),
    log: section('How it is logged.', {
      level: setting(word, 'a', { description: 'How much.', chart: { value: 'own.level' } }),
      place: optional(Schema.String, {
        description: `Where ${'far '.repeat(30)}away.`,
        examples: ['/var'],
        chart: { default: '/' },
      }),
      secret: setting(Schema.Boolean, false, { description: 'Nobody knows.', chart: notInChart }),
    }),
    extra: section('More.', {
      at: optional(Schema.String, { description: 'Where.', examples: ['/at'], chart: { default: '' } }),
    }),
    sizes: section('Sizes.', { big: setting(Schema.Boolean, true, { description: 'Of all.' }) }, { isOneValue: true }),
  }),
);

describe('a declared setting', () => {
  it('is in the example at its default, and commented out if it has none', () => {
    expect(exampleFile(declared)).toBe(`# Head of the file. Written by npm run generate.

# One | or the other.
mode: a

# Whose they are.
names: [x, y]

# How it is logged.
log:
  # How much.
  level: a
  # Where far far far far far far far far far far far far far far far far far far far far far far far far far far far
  # far far far away.
  # place: /var
  # Nobody knows.
  secret: false

# More.
extra:
  # Where.
  # at: /at

# Sizes.
sizes:
  # Of all.
  big: true
`);
  });

  it('is in the table of the reference, and the rest of the page stays', () => {
    const page = referencePage(declared, 'Before.\n\n| setting | x |\n| - | - |\n| old | x |\n\nAfter.\n');
    expect(page.split('\n')).toEqual([
      'Before.',
      '',
      '| setting | type | default | meaning |',
      '| - | - | - | - |',
      '| `mode` | `a` or `b` | `a` | One \\| or the other. |',
      '| `names` | list of strings | `[x, y]` | Whose they are. Files may still use its former name, `log.names`. |',
      '| `log.level` | `a` or `b` | `a` | How much. |',
      `| \`log.place\` | string | - | Where ${'far '.repeat(30)}away. |`,
      '| `log.secret` | `true` or `false` | `false` | Nobody knows. |',
      '| `extra.at` | string | - | Where. |',
      '| `sizes.big` | `true` or `false` | `true` | Of all. |',
      '',
      'After.',
      '',
    ]);
  });

  it('is passed on by the template of the chart', () => {
    expect(chartTemplate(declared).split('\n').slice(1)).toEqual([
      '{{- define "sluice.config" -}}',
      'mode: b',
      'names: {{ toJson .Values.names }}',
      'log:',
      '  level: {{ .Values.own.level }}',
      '{{- with .Values.log.place }}',
      '  place: {{ toJson . }}',
      '{{- end }}',
      '{{- if or .Values.extra.at }}',
      'extra:',
      '{{- with .Values.extra.at }}',
      '  at: {{ toJson . }}',
      '{{- end }}',
      '{{- end }}',
      '{{- with .Values.sizes }}',
      'sizes: {{ toJson . }}',
      '{{- end }}',
      '{{- end -}}',
      '',
    ]);
  });
});

describe('the values of the chart', () => {
  const before = '# Head.\n\n# The chart’s.\nhub: x\n\n# By hand.\nown:\n  # Old words.\n  level: b\n  mine: [1]\n';

  it('have a value for each setting, at its old place, and keep the chart’s own values', () => {
    const values = chartValues(declared, before);
    expect(values.slice(0, 100)).toContain(
      '# Head.\n\n# The chart’s.\nhub: x\n\n# By hand.\nown:\n  # How much.\n  level: a',
    );
    expect(values).toContain('extra:\n  # Where. An empty value leaves it out.\n  at: ""\n\n# Sizes.\nsizes: {}\n');
    expect(values).toContain('mine: [1]');
    expect(values).not.toContain('secret');
    expect(chartValues(declared, values)).toBe(values);
  });

  it('have a schema that has each of them and no others', () => {
    const own = { type: 'object', additionalProperties: false, properties: { level: {}, mine: { type: 'array' } } };
    const schema = chartSchema(declared, JSON.stringify({ title: 'Values', properties: { own } }));
    expect(JSON.parse(schema)).toEqual({
      title: 'Values',
      properties: {
        own: { ...own, properties: { level: { type: 'string', enum: ['a', 'b'] }, mine: { type: 'array' } } },
        names: { type: 'array', items: { type: 'string' } },
        log: { type: 'object', additionalProperties: false, properties: { place: { type: 'string' } } },
        extra: { type: 'object', additionalProperties: false, properties: { at: { type: 'string' } } },
        sizes: { type: 'object', additionalProperties: false, properties: { big: { type: 'boolean' } } },
      },
    });
    expect(chartSchema(declared, schema)).toBe(schema);
  });
});

describe('generated files', () => {
  it('deploy/manifest.yaml is valid, with or without helm here', () => {
    const { objects, issues } = validateManifests(readFileSync(repositoryPath('deploy/manifest.yaml'), 'utf8'));
    expect(issues).toEqual([]);
    expect(objects.map(({ kind }) => String(kind)).toSorted()).toEqual([
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
