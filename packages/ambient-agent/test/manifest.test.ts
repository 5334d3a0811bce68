// Manifests as people write them, and the messages for those that cannot be used.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
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

  it('has several documents, lists, and kinds that are ignored', () => {
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
      'a.yaml: document 1, line 1: this is not a Kubernetes object: it has no `kind`; write one object per document, with `kind` and `metadata`',
    ],
  ];
  it.each(cases)('that is wrong is described: %s', (_name, text, message) => {
    expect(parseManifest(text, 'a.yaml').problems.map(describeProblem)).toEqual([message]);
  });

  it('that is not YAML is reported with document and line', () => {
    const [problem] = parseManifest('kind: Namespace\nmetadata: {name: a}\n---\nkind: [Pod\nx: y\n', 'a.yaml').problems;
    expect(problem).toMatchObject({ file: 'a.yaml', document: 2, line: 5 });
  });

  it('has only addresses that a pod can have', () => {
    const strange = ['fe80::1%eth0', 'fe80::1', '127.0.0.1', '::1', '0.0.0.0', '::', '224.0.0.1', '::ffff:127.0.0.1'];
    const ips = [...strange, '10.0.0.2'].map((ip) => ({ ip }));
    const text = JSON.stringify({ kind: 'Pod', metadata: { name: 'a', uid: 'u' }, spec: {}, status: { podIPs: ips } });
    expect(parseManifest(text, 'a.json').pods[0]).toMatchObject({ ips: ['10.0.0.2'], badIps: strange });
  });

  it('may use anchors, aliases and merge keys, up to a limit', () => {
    const merged = 'x: &names {name: shop}\nkind: Namespace\nmetadata: {<<: *names, labels: {a: b}}\n';
    expect(parseManifest(merged, 'a.yaml').namespaces).toEqual([{ name: 'shop', labels: { a: 'b' } }]);
    const lines = Array.from(
      { length: 12 },
      (_, i) =>
        `k${i}: &k${i} [${Array(9)
          .fill(i ? `*k${i - 1}` : 'x')
          .join()}]`,
    );
    const [problem] = parseManifest(`${lines.join('\n')}\nkind: Pod\n`, 'a.yaml').problems;
    expect(problem?.text).toContain('Excessive alias count');
  });

  it('is reported with its duplicate key, even among very many', () => {
    const many = Array.from({ length: 50_000 }, (_, i) => `  k${i}: v`).join('\n');
    expect(parseManifest(`kind: ConfigMap\ndata:\n${many}\n`, 'a.yaml').problems).toEqual([]);
    expect(parseManifest(`kind: Pod\nmetadata:\n  name: a\n  uid: u\n  name: b\n`, 'a.yaml').problems).toMatchObject([
      { document: 1, line: 5, text: 'the key `name` occurs twice' },
    ]);
  });

  it('that is wrong all over is reported with its first problems and the number of the others', () => {
    const { problems } = parseManifest(`kind: List\nitems:\n${'- 3\n'.repeat(5000)}`, 'a.yaml');
    expect(problems).toHaveLength(21);
    expect(problems.at(-1)?.text).toBe('4980 more problems are in this file');
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

  it('keeps the objects of a file that became malformed, and reads those of the others', () => {
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

  it('takes an object that is in two files from the later name, and reports it', () => {
    put('b.yaml', podYaml('u1', 'late'));
    put('a.yaml', podYaml('u1', 'early'));
    const known = new ManifestDirectory(directory);
    known.scan();
    expect(known.snapshot.inventory.pods.get('u1')?.name).toBe('late');
    expect(known.snapshot.problems).toEqual([
      `pod shop/late (uid u1) is in ${directory}/a.yaml and in ${directory}/b.yaml; ${directory}/b.yaml counts; remove one of them`,
    ]);
  });

  it('follows symbolic links, even when the directory that they lead through is replaced', () => {
    for (const [name, uid] of [
      ['..one', 'u1'],
      ['..two', 'u2'],
    ] as const) {
      mkdirSync(join(directory, name));
      writeFileSync(join(directory, name, 'a.yaml'), podYaml(uid));
    }
    symlinkSync('..one', join(directory, '..data'));
    symlinkSync('..data/a.yaml', join(directory, 'a.yaml'));
    const known = new ManifestDirectory(directory);
    known.scan();
    expect(uids(known)).toEqual(['u1']);
    symlinkSync('..two', join(directory, '..data_tmp'));
    renameSync(join(directory, '..data_tmp'), join(directory, '..data'));
    known.scan();
    expect(uids(known)).toEqual(['u2']);
  });

  it('is not held up by what is not a file or is too large, and reports it', () => {
    put('a.yaml', podYaml('u1'));
    const known = new ManifestDirectory(directory);
    known.scan();
    put('a.yaml', '');
    truncateSync(join(directory, 'a.yaml'), 9 * 2 ** 20);
    execFileSync('mkfifo', [join(directory, 'pipe.yaml')]);
    symlinkSync('/dev/zero', join(directory, 'zero.yaml'));
    known.scan();
    expect(uids(known)).toEqual(['u1']);
    expect(known.snapshot.problems).toEqual([
      `${directory}/a.yaml: is larger than 8 MiB; split it; the objects last read from it stay in force`,
      `${directory}/pipe.yaml: is not a file; remove it; the objects last read from it stay in force`,
      `${directory}/zero.yaml: is not a file; remove it; the objects last read from it stay in force`,
    ]);
    expect(known.scan()).toBe(false);
  });

  it('that does not exist is reported with a remedy', () => {
    const absent = new ManifestDirectory(join(directory, 'absent'));
    expect(() => absent.scan()).toThrow(
      `the inventory directory ${directory}/absent does not exist; make it, or name another with --inventory or \`inventory.directory\``,
    );
  });
});
