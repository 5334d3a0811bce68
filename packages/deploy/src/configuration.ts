// Generates, from the declaration of the agent's settings, the files that show the settings or pass them on.
import { entriesOf, typeOf, type Entry } from '@sluice/ambient-agent';
import * as Schema from 'effect/Schema';
import { Document, isMap, isScalar, parseDocument, stringify, visit, type Pair, type Scalar } from 'yaml';

const LINE_WIDTH = 120;
const layout = { lineWidth: 0, flowCollectionPadding: false } as const;
const OFF = 'OFF';

/** Sets a key and the comment before it; an existing key keeps its place. */
function put(document: Document, path: readonly string[], value: unknown, comment: string): Pair<Scalar, Scalar> {
  const map = document.getIn(path.slice(0, -1), true);
  if (!isMap<Scalar, Scalar>(map)) throw new Error(`there is no section for ${path.join('.')}`);
  const made = document.createPair<Scalar, Scalar>(path.at(-1), value, { aliasDuplicateObjects: false });
  visit(made.value, { Seq: (_, list) => void (list.flow = list.items.every(isScalar)) });
  made.key.spaceBefore = path.length === 1;
  const pair = map.items.find(({ key }) => key.value === path.at(-1)) ?? made;
  if (pair === made) map.add(made);
  else pair.value = made.value;
  // The comment before the first key is the mapping's own.
  if (map.items[0] === pair) map.commentBefore = null;
  const lines = new RegExp(`(.{1,${LINE_WIDTH - 2 * path.length}})(?: |$)`, 'g');
  pair.key.commentBefore = comment.replace(lines, ' $1\n').trimEnd();
  return pair;
}

/** deploy/sluice.yaml. A setting without a default is commented out. */
export function exampleFile(declared: Entry): string {
  const document = new Document({});
  for (const [path, { isOneValue, default: value, examples = [], description }] of entriesOf(declared)) {
    const isSection = isOneValue !== undefined;
    const { value: node } = put(document, path, isSection ? {} : (value ?? examples[0]), description);
    if (!isSection && value === undefined && node !== null) node.comment = OFF;
  }
  const text = document.toString(layout).replaceAll(new RegExp(`^( *)(.*) #${OFF}$`, 'gm'), '$1# $2');
  return `# ${declared.description} Written by npm run generate.\n${text}`;
}

const LONGEST_CELL = 60;

/** The table of docs/configuration.md, in its place on the page. */
export function referencePage(declared: Entry, page: string): string {
  const rows = [...entriesOf(declared)].flatMap(([path, entry]) => {
    const { default: value, description, formerly, isOneValue } = entry;
    if (isOneValue !== undefined) return [];
    const text = value === undefined ? '' : `\`${stringify(value, { ...layout, collectionStyle: 'flow' }).trim()}\``;
    const shown = text.length > LONGEST_CELL ? 'as in [the example](../deploy/sluice.yaml)' : text || '-';
    const meaning =
      formerly === undefined ? description : `${description} Files may still use its former name, \`${formerly}\`.`;
    return [`| \`${path.join('.')}\` | ${typeOf(entry)} | ${shown} | ${meaning.replaceAll('|', '\\|')} |\n`];
  });
  const table = ['| setting | type | default | meaning |\n', '| - | - | - | - |\n', ...rows];
  const old = /^\| setting .*\n(?:\|.*\n)*/m;
  if (!old.test(page)) throw new Error('the page has no table that begins with "| setting"');
  return page.replace(old, () => table.join(''));
}

const mayBeEmpty = ({ chart, isOneValue }: Entry): boolean => isOneValue === true || chart?.default !== undefined;

interface InChart {
  readonly values: { readonly path: readonly string[]; readonly entry: Entry; readonly value: unknown }[];
  /** The lines of the template that passes them on. */
  readonly lines: string[];
}

function inChart(section: Entry, above: readonly string[] = []): InChart {
  const { values, lines }: InChart = { values: [], lines: [] };
  for (const [name, entry] of Object.entries(section.properties ?? {})) {
    const { chart = {}, isOneValue, properties = {} } = entry;
    if (chart.isAbsent) continue;
    const start = `${'  '.repeat(above.length)}${name}:`;
    const path = chart.value?.split('.') ?? [...above, name];
    const reference = `.Values.${path.join('.')}`;
    if (isOneValue === false) {
      const below = inChart(entry, path);
      const all = below.values.map((value) => `.Values.${value.path.join('.')}`);
      const isOptional = Object.values(properties).every((child) => child.chart?.isAbsent || mayBeEmpty(child));
      // An empty section would do no harm, but people would see it in the rendering.
      const [before, after] = isOptional ? [[`{{- if or ${all.join(' ')} }}`], ['{{- end }}']] : [[], []];
      if (below.lines.length > 0) lines.push(...before, start, ...below.lines, ...after);
      values.push(...below.values);
    } else {
      const text = entry.enum === undefined ? `{{ toJson ${reference} }}` : `{{ ${reference} }}`;
      if (mayBeEmpty(entry)) lines.push(`{{- with ${reference} }}`, `${start} {{ toJson . }}`, '{{- end }}');
      else lines.push(`${start} ${chart.writes ?? text}`);
      if (chart.writes === undefined || chart.value !== undefined)
        values.push({ path, entry, value: isOneValue ? {} : (chart.default ?? entry.default) });
    }
  }
  return { values, lines };
}

/** The chart's template of the agent's configuration file. */
export function chartTemplate(declared: Entry): string {
  const head = "{{/* The agent's configuration file, as its settings are declared. npm run generate writes this. */}}";
  return [head, '{{- define "sluice.config" -}}', ...inChart(declared).lines, '{{- end -}}\n'].join('\n');
}

/** The chart's values.yaml, in which only the agent's settings are touched. */
export function chartValues(declared: Entry, yaml: string): string {
  const document = parseDocument(yaml);
  for (const { path, entry, value } of inChart(declared).values) {
    const about = declared.properties?.[path[0] ?? '']?.description ?? '';
    if (!document.hasIn(path.slice(0, 1))) put(document, path.slice(0, 1), {}, about);
    const more = entry.chart?.default === undefined ? '' : ' An empty value leaves it out.';
    put(document, path, value, entry.description + more);
  }
  return document.toString(layout);
}

const notInSchema = new Set(['chart', 'default', 'description', 'examples', 'formerly', 'isOneValue', 'title']);

const membersOf = Schema.decodeUnknownSync(Schema.fromJsonString(Schema.Record(Schema.String, Schema.Unknown)));

/** The JSON schema of the chart's values, in which only the agent's settings are touched. */
export function chartSchema(declared: Entry, json: string): string {
  const document = parseDocument(json);
  for (const { path, entry } of inChart(declared).values) {
    const place = path.flatMap((name) => ['properties', name]);
    if (!document.hasIn(place.slice(0, 2)))
      document.setIn(
        place.slice(0, 2),
        document.createNode({ type: 'object', additionalProperties: false, properties: {} }),
      );
    const schema = JSON.stringify(entry, (key, value: unknown) => (notInSchema.has(key) ? undefined : value));
    document.setIn(place, { ...membersOf(schema), ...entry.chart?.schema });
  }
  return JSON.stringify(document, undefined, 2);
}
