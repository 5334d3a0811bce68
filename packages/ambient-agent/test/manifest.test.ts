// Manifests as people write them, and the messages for those that cannot be used.
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { describeProblem, ManifestDirectory, parseManifest } from '../src/index.js';

const podYaml = (uid: string, name = uid, ip = '10.0.0.2'): string => `apiVersion: v1
kind: Pod
metadata: {uid: ${uid}, name: ${name}, namespace: shop, labels: {app: web}}
spec: {nodeName: node-1, serviceAccountName: web, containers: [{name: web, image: web}]}
status:
  phase: Running
  podIP: ${ip}
  podIPs: [{ip: ${ip}}, {ip: "fd00:0::2"}]
  conditions: [{type: Ready, status: "True"}]
`;

describe('a manifest', () => {
  it('gives the fields that are used, addresses in canonical text', () => {
    const { pods, problems } = parseManifest(podYaml('u1'), 'a.yaml');
    expect(problems).toEqual([]);
    expect(pods[0]).toMatchObject({
      uid: 'u1',
      namespace: 'shop',
      nodeName: 'node-1',
      ips: ['10.0.0.2', 'fd00::2'],
      isReady: true,
    });
  });

  it('has several documents, lists, and kinds that are none of our business', () => {
    const text = `${podYaml('u1')}---\n# nothing\n---\nkind: ConfigMap\nmetadata: {name: x}\n---\nkind: List\nitems:\n- kind: Namespace\n  metadata: {name: shop, labels: {a: b}}\n- kind: Service\n---\nkind: NamespaceList\nitems: [{metadata: {name: plain}}]\n`;
    const manifest = parseManifest(text, 'a.yaml');
    expect(manifest.problems).toEqual([]);
    expect([manifest.pods.length, manifest.namespaces.map(({ name }) => name)]).toEqual([1, ['shop', 'plain']]);
  });

  it('is JSON too', () => {
    const text = JSON.stringify({ kind: 'Namespace', metadata: { name: 'shop', labels: null } });
    expect(parseManifest(text, 'a.json').namespaces).toEqual([{ name: 'shop', labels: {} }]);
  });

  const remedy = 'correct the field; until then the objects last read from this file stay in force';
  const cases: [string, string, string][] = [
    [
      'field of a wrong type',
      `${podYaml('u1')}---\nkind: Pod\nmetadata:\n  uid: u2\n  name: 7\nspec: {}\n`,
      `a.yaml: document 2, line 14 at metadata.name: Expected string; ${remedy}`,
    ],
    [
      'missing field',
      'kind: Pod\nmetadata:\n  name: a\nspec: {}\n',
      `a.yaml: document 1, line 3 at metadata.uid: Missing key; ${remedy}`,
    ],
    [
      'in a list',
      'kind: List\nitems:\n- kind: Namespace\n  metadata:\n    name: ""\n',
      `a.yaml: document 1, line 5 at items[0].metadata.name: Expected a value with a length of at least 1; ${remedy}`,
    ],
    [
      'no kind',
      'metadata: {name: a}\n',
      'a.yaml: document 1, line 1: this is not a Kubernetes object: it has no `kind`; write one object a document, with `kind` and `metadata`',
    ],
  ];
  it.each(cases)('that is wrong is described: %s', (_name, text, message) => {
    expect(parseManifest(text, 'a.yaml').problems.map(describeProblem)).toEqual([message]);
  });

  it('that is no YAML names document and line', () => {
    const [problem] = parseManifest('kind: Namespace\nmetadata: {name: a}\n---\nkind: [Pod\nx: y\n', 'a.yaml').problems;
    expect(problem).toMatchObject({ file: 'a.yaml', document: 2, line: 5 });
  });

  it('never throws', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => void parseManifest(text, 'a.yaml')));
    const lines = podYaml('u1').split('\n');
    fc.assert(fc.property(fc.shuffledSubarray(lines), (some) => void parseManifest(some.join('\n'), 'a.yaml')));
  });
});

describe('a directory of manifests', () => {
  let directory: string;
  beforeEach(() => void (directory = mkdtempSync(join(tmpdir(), 'sluice-inventory-'))));
  afterEach(() => rmSync(directory, { recursive: true, force: true }));
  const put = (name: string, text: string): void => {
    writeFileSync(join(directory, `.${name}.tmp`), text);
    renameSync(join(directory, `.${name}.tmp`), join(directory, name));
  };
  const uids = (known: ManifestDirectory): string[] => [...known.snapshot.inventory.pods.keys()].sort();

  it('keeps the objects of a file that became malformed, and takes those of the others', () => {
    put('a.yaml', podYaml('u1'));
    put('b.yaml', podYaml('u2'));
    const known = new ManifestDirectory(directory);
    expect(known.scan()).toBe(true);
    put('a.yaml', 'kind: Pod\nmetadata: {');
    put('b.yaml', podYaml('u3'));
    expect(known.scan()).toBe(true);
    expect(uids(known)).toEqual(['u1', 'u3']);
    expect(known.snapshot.problems).toEqual([expect.stringContaining(join(directory, 'a.yaml'))]);
    expect(known.scan()).toBe(false);
    put('a.yaml', podYaml('u4'));
    known.scan();
    expect([uids(known), known.snapshot.problems]).toEqual([['u3', 'u4'], []]);
  });

  it('forgets the objects of a file that is gone, and looks at no other names', () => {
    put('a.yaml', podYaml('u1'));
    put('notes.txt', podYaml('u2'));
    mkdirSync(join(directory, 'below.yaml'));
    const known = new ManifestDirectory(directory);
    known.scan();
    expect(uids(known)).toEqual(['u1']);
    rmSync(join(directory, 'a.yaml'));
    expect(known.scan()).toBe(true);
    expect(uids(known)).toEqual([]);
  });

  it('takes an object that is in two files from the later name, and says so', () => {
    put('b.yaml', podYaml('u1', 'late'));
    put('a.yaml', podYaml('u1', 'early'));
    const known = new ManifestDirectory(directory);
    known.scan();
    expect(known.snapshot.inventory.pods.get('u1')?.name).toBe('late');
    expect(known.snapshot.problems).toEqual([
      `pod shop/late (uid u1) is in ${directory}/a.yaml and in ${directory}/b.yaml; ${directory}/b.yaml counts; remove one of them`,
    ]);
  });

  it('that is not there says what to do', () => {
    const absent = new ManifestDirectory(join(directory, 'absent'));
    expect(() => absent.scan()).toThrow(
      `the inventory directory ${directory}/absent does not exist; make it, or name another with --inventory or \`inventory.directory\``,
    );
  });
});
