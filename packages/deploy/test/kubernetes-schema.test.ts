// The validator itself: it must find what an API server would refuse.
import { describe, expect, it } from 'vitest';
import { validateManifests } from './kubernetes-schema.js';

const problems = (yaml: string, foreign: string[] = []): string[] =>
  validateManifests(yaml, foreign).issues.map(({ object, path, text }) => `${object} ${path}: ${text}`);

const pod = (container: string): string =>
  `{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [${container}]}}`;

describe('validateManifests', () => {
  it('accepts what is right', () => {
    expect(problems(pod('{name: c, image: i, ports: [{containerPort: 80}], env: [{name: A, value: b}]}'))).toEqual([]);
    expect(
      problems('{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: r, namespace: n}}'),
    ).toEqual([]);
    expect(problems('{apiVersion: v1, kind: Event, metadata: {name: e}, involvedObject: {}}')).toEqual([]);
  });

  it.each([
    ['an unknown field', pod('{name: c, imagee: i}'), 'Pod/a spec.containers[0].imagee: V1Container has no such field'],
    ['a field that is missing', pod('{image: i}'), 'Pod/a spec.containers[0].name: is required'],
    [
      'a wrong type',
      pod('{name: c, env: [{name: A, value: 3}]}'),
      'Pod/a spec.containers[0].env[0].value: string is expected, and 3 is none',
    ],
    ['a list that is none', pod('{name: c, env: {A: b}}'), 'Pod/a spec.containers[0].env: a list is expected'],
    [
      'a kind in the wrong version',
      '{apiVersion: apps/v2, kind: DaemonSet, metadata: {name: d}}',
      'DaemonSet/d : there is no DaemonSet in apps/v2',
    ],
    ['an object without a name', '{apiVersion: v1, kind: ConfigMap}', 'ConfigMap/undefined metadata.name: is required'],
  ])('finds %s', (_, yaml, expected) => {
    expect(problems(yaml)).toEqual([expected]);
  });

  it('finds a duplicate key, and ignores only the foreign kinds that it is told to ignore', () => {
    expect(problems('apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {}\ndata: {}')[0]).toContain('unique');
    const foreign = '{apiVersion: x.io/v1, kind: Thing, metadata: {name: t}}';
    expect(problems(foreign)).toHaveLength(1);
    expect(problems(foreign, ['x.io/v1/Thing'])).toEqual([]);
  });
});
