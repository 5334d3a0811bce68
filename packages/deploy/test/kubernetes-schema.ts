// Checks manifests against the Kubernetes API's own types, from which its client is generated. Names and types come
// from the client's type maps; which fields are required comes from its declarations.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as models from '@kubernetes/client-node';
import { parseAllDocuments } from 'yaml';

export interface ManifestIssue {
  /** kind/name of the object */
  readonly object: string;
  /** Where in it: spec.template.spec.containers[0].image */
  readonly path: string;
  readonly text: string;
}

interface Attribute {
  readonly name: string;
  readonly baseName: string;
  readonly type: string;
}

/** A class of the official client's. */
interface Model {
  readonly getAttributeTypeMap?: () => readonly Attribute[];
}

type Tree = Record<string, unknown>;

const isTree = (value: unknown): value is Tree => typeof value === 'object' && value !== null && !Array.isArray(value);

const modelDirectory = join(dirname(fileURLToPath(import.meta.resolve('@kubernetes/client-node'))), 'gen/models');

function attributesOf(type: string): readonly Attribute[] | undefined {
  const model = (models as unknown as Record<string, Model | undefined>)[type];
  return model?.getAttributeTypeMap?.();
}

const required = new Map<string, ReadonlySet<string>>();

/** In a declaration, an optional property has a question mark. */
function requiredOf(type: string): ReadonlySet<string> {
  let names = required.get(type);
  if (names === undefined) {
    const text = readFileSync(join(modelDirectory, `${type}.d.ts`), 'utf8');
    names = new Set([...text.matchAll(/^ {4}'(\w+)': /gm)].map(([, name]) => name ?? ''));
    required.set(type, names);
  }
  return names;
}

/** The model of an apiVersion and kind. The client's names have the version before the kind, and rarely the group. */
function modelOf(apiVersion: string, kind: string): string | undefined {
  const version = apiVersion.split('/').at(-1) ?? '';
  const capital = version.charAt(0).toUpperCase() + version.slice(1);
  return [`${capital}${kind}`, `Core${capital}${kind}`].find((name) => attributesOf(name) !== undefined);
}

const primitives: Record<string, (value: unknown) => boolean> = {
  string: (value) => typeof value === 'string',
  number: (value) => typeof value === 'number',
  boolean: (value) => typeof value === 'boolean',
  IntOrString: (value) => typeof value === 'string' || Number.isInteger(value),
  Date: (value) => typeof value === 'string',
  any: () => true,
};

function check(value: unknown, type: string, path: string, say: (path: string, text: string) => void): void {
  const item = /^Array<(.+)>$/.exec(type)?.[1];
  const entry = /^\{ \[key: string\]: (.+); \}$/.exec(type)?.[1];
  if (item !== undefined) {
    if (!Array.isArray(value)) return say(path, 'a list is expected');
    for (const [index, element] of value.entries()) check(element, item, `${path}[${index}]`, say);
  } else if (entry !== undefined) {
    if (!isTree(value)) return say(path, 'a mapping is expected');
    for (const [name, below] of Object.entries(value)) check(below, entry, `${path}.${name}`, say);
  } else if (primitives[type] !== undefined) {
    if (!primitives[type](value)) say(path, `${type} is expected, and ${JSON.stringify(value)} is none`);
  } else checkModel(value, type, path, say);
}

function checkModel(value: unknown, type: string, path: string, say: (path: string, text: string) => void): void {
  const attributes = attributesOf(type);
  if (attributes === undefined) return say(path, `the type ${type} is not known here`);
  if (!isTree(value)) return say(path, `${type} is expected, and ${JSON.stringify(value)} is none`);
  const below = (name: string): string => (path === '' ? name : `${path}.${name}`);
  for (const [name, child] of Object.entries(value)) {
    const attribute = attributes.find(({ baseName }) => baseName === name);
    if (attribute === undefined) say(below(name), `${type} has no such field`);
    else if (child !== null) check(child, attribute.type, below(name), say);
  }
  const must = requiredOf(type);
  for (const { name, baseName } of attributes) {
    if (must.has(name) && (value[baseName] ?? undefined) === undefined) say(below(baseName), 'is required');
  }
}

/** What is wrong with one object. The caller names the kinds that are not Kubernetes' own; they are not checked. */
export function validateManifest(manifest: unknown, foreignKinds: readonly string[] = []): ManifestIssue[] {
  const issues: ManifestIssue[] = [];
  const { apiVersion, kind, metadata } = isTree(manifest) ? manifest : {};
  const name = isTree(metadata) ? metadata['name'] : undefined;
  const object = `${String(kind)}/${String(name)}`;
  const say = (path: string, text: string): void => void issues.push({ object, path, text });
  if (typeof apiVersion !== 'string' || typeof kind !== 'string') say('', 'apiVersion and kind are expected');
  else if (!foreignKinds.includes(`${apiVersion}/${kind}`)) {
    const model = modelOf(apiVersion, kind);
    if (model === undefined) say('', `there is no ${kind} in ${apiVersion}`);
    else checkModel(manifest, model, '', say);
  }
  if (typeof name !== 'string') say('metadata.name', 'is required');
  return issues;
}

/** The objects of a YAML text, and what is wrong with them. A duplicate key is an error, as it is for the API server. */
export function validateManifests(
  text: string,
  foreignKinds: readonly string[] = [],
): { readonly objects: readonly Tree[]; readonly issues: readonly ManifestIssue[] } {
  const objects: Tree[] = [];
  const issues: ManifestIssue[] = [];
  for (const document of parseAllDocuments(text, { uniqueKeys: true })) {
    for (const { message } of document.errors) issues.push({ object: '?', path: '', text: message });
    const value: unknown = document.toJS();
    if (value === null || value === undefined) continue;
    issues.push(...validateManifest(value, foreignKinds));
    if (isTree(value)) objects.push(value);
  }
  return { objects, issues };
}
