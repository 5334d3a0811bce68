// Manifests: what is written, how it is named, and that the YAML is what it should be.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { KubernetesDirectory, namespaceObject, toYaml } from '../src/index.js';

let path: string;
beforeEach(() => {
  path = mkdtempSync(join(tmpdir(), 'manifests-'));
});
afterEach(() => rmSync(path, { recursive: true }));

test('blocks, lists of objects, empty values and awkward strings', () => {
  const yaml = toYaml({
    a: { b: [{ c: 1, d: ['x'] }, {}], e: [], f: {} },
    'g.h/i': 'no: "#"\n',
    j: null,
    k: undefined,
    '1': true,
  });
  expect(yaml).toBe(
    [
      '"1": true',
      'a:',
      '  b:',
      '    - c: 1',
      '      d:',
      '        - "x"',
      '    - {}',
      '  e: []',
      '  f: {}',
      'g.h/i: "no: \\"#\\"\\n"',
      'j: null',
      '',
    ].join('\n'),
  );
});

test('one file per object, replaced and removed by kind and name', () => {
  const directory = new KubernetesDirectory(path);
  directory.ensureNamespace('shop');
  directory.setNamespace('shop', { 'istio.io/dataplane-mode': 'ambient' });
  directory.ensureNamespace('shop');
  expect(readFileSync(join(path, 'namespace.shop.yaml'), 'utf8')).toContain('    istio.io/dataplane-mode: "ambient"\n');
  const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { namespace: 'shop', name: 'a' } };
  directory.write(pod);
  directory.writeText('broken.yaml', '{');
  expect(readdirSync(path).toSorted()).toEqual(['broken.yaml', 'namespace.shop.yaml', 'pod.shop.a.yaml']);
  directory.remove(pod);
  directory.remove(pod);
  directory.remove(namespaceObject('shop', {}));
  expect(readdirSync(path)).toEqual(['broken.yaml']);
});
