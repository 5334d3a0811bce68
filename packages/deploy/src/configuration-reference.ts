// Writes docs/configuration.md: what can be set and of which type is the agent's own schema's word; the meaning and the
// default are deploy/sluice.yaml's, which a test of the agent's holds against the defaults that it has.

export interface Setting {
  /** log.level */
  readonly path: string;
  readonly type: string;
  /** As YAML; undefined = none, the description says what happens. */
  readonly fallback: string | undefined;
  readonly description: string;
}

/** A setting that the schema has and the example does not explain. */
export class ReferenceError extends Error {}

interface JsonSchema {
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly anyOf?: readonly JsonSchema[];
  readonly allOf?: readonly JsonSchema[];
  readonly items?: JsonSchema;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly additionalProperties?: boolean | JsonSchema;
  readonly minimum?: number;
  readonly maximum?: number;
}

function typeOf(schema: JsonSchema): string {
  if (schema.enum !== undefined) return schema.enum.map((value) => `\`${value}\``).join(' or ');
  if (schema.anyOf !== undefined) return [...new Set(schema.anyOf.map(typeOf))].join(' or ');
  if (schema.type === 'array') return `list of ${plural(schema.items ?? {})}`;
  if (schema.type === 'integer') {
    const { minimum, maximum = Number.MAX_SAFE_INTEGER } = { ...schema, ...schema.allOf?.[0] };
    if (minimum !== undefined && maximum < Number.MAX_SAFE_INTEGER) return `integer, ${minimum} to ${maximum}`;
    return minimum === undefined ? 'integer' : `integer, at least ${minimum}`;
  }
  if (schema.type === 'object') return schema.properties === undefined ? 'mapping of strings' : 'mapping';
  return schema.type ?? 'anything';
}

function plural(schema: JsonSchema): string {
  const type = typeOf(schema);
  if (schema.enum !== undefined) return type;
  if (type === 'mapping') return `mappings (${Object.keys(schema.properties ?? {}).join(', ')})`;
  const [noun, ...rest] = type.split(',');
  return [`${noun}s`, ...rest].join(',');
}

interface Explained {
  readonly description: string;
  readonly fallback: string | undefined;
}

const keyLine = /^(?<indent> *)(?<off># )?(?<more> *)(?<key>[A-Za-z0-9]+):(?: (?<rest>.*))?$/;
const INDENT = 2;

/**
 * The settings of the example file, with the comments before each. One that is commented out has no default; if no comment
 * comes before it, what stands after its colon is its description. Pure.
 */
export function explanations(example: string, isSetting: (path: string) => boolean): ReadonlyMap<string, Explained> {
  const found = new Map<string, Explained>();
  const path: string[] = [];
  let comment: string[] = [];
  let offSection: string | undefined;
  const lines = example.split('\n');
  for (const [index, line] of lines.entries()) {
    const match = keyLine.exec(line)?.groups;
    const depth = match === undefined ? 0 : ((match['indent'] ?? '').length + (match['more'] ?? '').length) / INDENT;
    const full = match === undefined ? '' : [...path.slice(0, depth), match['key']].join('.');
    if (match === undefined || !isSetting(full)) {
      if (line.trim() === '') comment = [];
      else if (/^ *# /.test(line)) comment.push(line.trim().slice(2));
      continue;
    }
    path.splice(depth, Number.POSITIVE_INFINITY, match['key'] ?? '');
    const rest = match['rest'] ?? '';
    const isOff = match['off'] !== undefined;
    const isOwnWords = isOff && comment.length === 0 && offSection !== path.slice(0, depth).join('.');
    const description = isOwnWords ? rest.charAt(0).toUpperCase() + rest.slice(1) : comment.join(' ');
    if (isOff && rest === '') offSection = full;
    found.set(full, { description, fallback: isOff ? undefined : valueAt(lines, index, depth, rest) });
    comment = [];
  }
  return found;
}

/** The value on the key's line, or the block below it as it stands. */
function valueAt(lines: readonly string[], index: number, depth: number, rest: string): string {
  if (rest !== '') return rest;
  const block: string[] = [];
  for (const line of lines.slice(index + 1)) {
    if (line.trim() === '' || line.search(/\S/) <= depth * INDENT) break;
    if (!line.trim().startsWith('#')) block.push(line.slice((depth + 1) * INDENT));
  }
  return block.join('\n');
}

function* settingsOf(
  schema: JsonSchema,
  above: readonly string[] = [],
): Generator<{ path: string; schema: JsonSchema }> {
  for (const [name, child] of Object.entries(schema.properties ?? {})) {
    const path = [...above, name];
    if (child.type === 'object' && child.properties !== undefined) yield* settingsOf(child, path);
    else yield { path: path.join('.'), schema: child };
  }
}

/**
 * Every setting, in the example's order.
 * @param schema the agent's, as JSON schema @param example the text of deploy/sluice.yaml
 * @throws ReferenceError for a setting that the example does not hold
 */
export function settings(schema: unknown, example: string): Setting[] {
  const leaves = new Map([...settingsOf(schema as JsonSchema)].map((leaf) => [leaf.path, leaf.schema]));
  const sections = new Set([...leaves.keys()].map((path) => path.split('.').slice(0, -1).join('.')));
  const known = explanations(example, (path) => leaves.has(path) || sections.has(path));
  const missing = [...leaves.keys()].filter((path) => !known.has(path));
  if (missing.length > 0) {
    throw new ReferenceError(
      `deploy/sluice.yaml does not say ${missing.join(', ')}; add them, with a comment before each`,
    );
  }
  return [...known].flatMap(([path, { description, fallback }]) => {
    const leaf = leaves.get(path);
    if (leaf === undefined) return [];
    const section = known.get(path.split('.').slice(0, -1).join('.'))?.description ?? '';
    return [{ path, type: typeOf(leaf), fallback, description: description === '' ? section : description }];
  });
}

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

/** The page. Pure. */
export function configurationReference(schema: unknown, example: string): string {
  const all = settings(schema, example);
  const rows = all.map(({ path, type, fallback, description }) => {
    const shown = fallback === undefined ? '-' : fallback.includes('\n') ? 'see below' : `\`${fallback}\``;
    return `| \`${path}\` | ${cell(type)} | ${cell(shown)} | ${cell(description)} |`;
  });
  const long = all.filter(({ fallback }) => fallback?.includes('\n'));
  const blocks = long.map(({ path, fallback }) => `\`${path}\`:\n\n\`\`\`yaml\n${fallback ?? ''}\n\`\`\`\n`);
  return `<!-- Generated from the agent's schema and deploy/sluice.yaml by npm run generate. -->

# Configuration

The agent reads one YAML file, \`/etc/sluice/config.yaml\` unless \`--config\` names another. Every setting may be left out. A
name that does not exist is refused, and the nearest one that does is named. [deploy/sluice.yaml](../deploy/sluice.yaml) is a file
to start from; in Kubernetes the chart writes it, from [its values](../deploy/helm/sluice/values.yaml).

| setting | type | default | meaning |
| ------- | ---- | ------- | ------- |
${rows.join('\n')}

## Longer defaults

${blocks.join('\n')}`;
}
