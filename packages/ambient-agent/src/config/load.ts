// Reads the YAML file, overrides it with the command line's values, checks everything and fills in the defaults.
import * as Effect from 'effect/Effect';
import * as Result from 'effect/Result';
import * as Schema from 'effect/Schema';
import type { AgentConfig } from './config.js';
import { entriesOf, jsonSchemaOf, type Entry } from './declare.js';
import { messageOf } from '../failure/message-of.js';
import { ConfigError } from './errors.js';
import { nearestName } from './nearest-name.js';
import { readYaml, type Yaml } from './read-yaml.js';
import { describeIssue, pathText, type Key } from './schema-issue.js';
import { settings } from './settings.js';
import { wrongValue } from './wrong-value.js';

type Tree = Readonly<Record<string, unknown>>;

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Overrides one tree with another. A null, as in an empty section (`policy:` and nothing), counts as left out, at any depth.
 * Something else in the place of a section stays there, to be found wrong.
 */
function overlay(base: Tree, over: Tree): Tree {
  const plain = (value: unknown, below: unknown): unknown => {
    if (Array.isArray(value)) return value.map((item) => plain(item, undefined));
    if (!isTree(value)) return value;
    const beneath = below ?? {};
    return isTree(beneath) ? overlay(beneath, value) : below;
  };
  const said = Object.entries(over).filter(([, value]) => value !== null && value !== undefined);
  return { ...base, ...Object.fromEntries(said.map(([name, value]) => [name, plain(value, base[name])])) };
}

/** The value at a path of a tree, and the tree without that value and without sections that are empty then. */
function taken(tree: Tree, [name = '', ...below]: readonly string[]): readonly [value: unknown, rest: Tree] {
  const { [name]: child, ...others } = tree;
  if (below.length === 0 || !isTree(child)) return below.length === 0 ? [child, others] : [undefined, tree];
  const [value, rest] = taken(child, below);
  return [value, Object.keys(rest).length === 0 ? others : { ...others, [name]: rest }];
}

/** A tree with only one value, at a path. */
function at([name = '', ...below]: readonly string[], value: unknown): Tree {
  return { [name]: below.length === 0 ? value : at(below, value) };
}

/** The source of a configuration without a file. */
const COMMAND_LINE = 'command line';

interface Problem {
  readonly keys: readonly Key[];
  readonly text: string;
}

/** The tree with its settings under their present names, where some were written under former ones. Pure. */
export function renamed(
  written: Tree,
  declared: Entry,
): { readonly tree: Tree; readonly problems: readonly Problem[] } {
  const problems: Problem[] = [];
  let tree = written;
  for (const [path, { formerly }] of entriesOf(declared)) {
    if (formerly === undefined) continue;
    const keys = formerly.split('.');
    const [value, rest] = taken(tree, keys);
    if (value === undefined) continue;
    const name = path.join('.');
    if (taken(rest, path)[0] !== undefined)
      problems.push({ keys, text: `is the same setting as \`${name}\`; remove \`${formerly}\`` });
    tree = overlay(at(path, value), rest);
  }
  return { tree, problems };
}

/** Also in what lists hold: a part of a selector that is left out matches everything, and a misspelt one must not. */
function unknownNames(value: unknown, { properties, items }: Entry, at: readonly Key[] = []): Problem[] {
  if (Array.isArray(value) && items !== undefined)
    return value.flatMap((item, index) => unknownNames(item, items, [...at, index]));
  if (!isTree(value) || properties === undefined) return [];
  const names = Object.keys(properties);
  return Object.entries(value).flatMap(([name, child]) => {
    const keys = [...at, name];
    const known = names.includes(name) ? properties[name] : undefined;
    if (known !== undefined) return unknownNames(child, known, keys);
    const elsewhere = all.find(([path]) => path.at(-1) === name)?.[0].join('.');
    const near = nearestName(name, names) ?? elsewhere;
    const remedy = near === undefined ? `known here: ${names.join(', ')}` : `did you mean \`${near}\`?`;
    return [{ keys, text: `is not a setting; ${remedy}` }];
  });
}

/** Labels without a value, which {@link overlay} leaves out, so that a selector would match more than is written. */
function emptyLabels(value: unknown, { type, properties, items }: Entry, at: readonly Key[] = []): Problem[] {
  if (Array.isArray(value) && items !== undefined)
    return value.flatMap((item, index) => emptyLabels(item, items, [...at, index]));
  if (!isTree(value)) return [];
  if (type === 'object' && properties === undefined)
    return Object.entries(value)
      .filter(([, label]) => label === null || label === undefined)
      .map(([name]) => ({ keys: [...at, name], text: "has no value; write '' for the empty label" }));
  return Object.entries(properties ?? {}).flatMap(([name, entry]) => emptyLabels(value[name], entry, [...at, name]));
}

/** What is at a place of a tree, and what is declared for it. */
function placeOf(
  value: unknown,
  entry: Partial<Entry>,
  [key, ...below]: readonly Key[],
): readonly [value: unknown, entry: Partial<Entry>] {
  if (key === undefined) return [value, entry];
  if (typeof key === 'number') return placeOf(Array.isArray(value) ? value[key] : undefined, entry.items ?? {}, below);
  const child = entry.properties?.[key] ?? (entry.additionalProperties || {});
  return placeOf(isTree(value) ? value[key] : undefined, child, below);
}

const declared = jsonSchemaOf(settings);
const all = [...entriesOf(declared)];
const names = Object.entries(declared.properties ?? {});
const sections = Object.fromEntries(names.filter(([, { properties }]) => properties).map(([name]) => [name, {}]));

/**
 * The configuration of a tree of values, or everything that is wrong with it. Pure, except for the default node name.
 * @param over values of the command line, which override those of the tree; undefined ones are left out
 * @param lineOf the line of the tree's file in which something is written
 */
export function resolveConfig(
  written: unknown,
  source: string,
  over: Tree = {},
  lineOf: Yaml['lineOf'] = () => undefined,
): Result.Result<AgentConfig, ConfigError> {
  const file = written ?? {};
  if (!isTree(file)) {
    const problem = wrongValue(file, { title: 'mapping of settings', examples: [{ nodeName: 'node-1' }] });
    return Result.fail(new ConfigError({ source, problems: [problem] }));
  }
  const { tree: ofToday, problems } = renamed(overlay(sections, file), declared);
  const tree = overlay(ofToday, over);
  const decoded = Schema.decodeUnknownResult(settings)(tree, { errors: 'all' });
  const issues = Result.isFailure(decoded) ? describeIssue(decoded.failure.issue) : [];
  const found: readonly Problem[] = [
    ...problems,
    ...unknownNames(tree, declared),
    ...emptyLabels(file, declared),
    ...issues.map(({ keys }) => ({ keys, text: wrongValue(...placeOf(tree, declared, keys)) })),
  ];
  if (Result.isSuccess(decoded) && found.length === 0) return Result.succeed(decoded.success);
  const placed = found.map(({ keys, text }) => {
    const [given] = placeOf(over, declared, keys);
    const isGiven = given !== undefined && !isTree(given);
    const line = isGiven ? undefined : lineOf(keys);
    const place = isGiven && source !== COMMAND_LINE ? `${COMMAND_LINE}: ` : line === undefined ? '' : `line ${line}: `;
    return { line: line ?? 0, problem: `${place}\`${pathText(keys)}\` ${text}` };
  });
  const inOrder = placed.toSorted((a, b) => a.line - b.line).map(({ problem }) => problem);
  return Result.fail(new ConfigError({ source, problems: inOrder }));
}

const nothingWritten: Yaml = { value: {}, lineOf: () => undefined };

/** The configuration of a file (without one, the defaults), overridden by the command line's values. */
export const loadConfig = (path: string | undefined, over: Tree = {}): Effect.Effect<AgentConfig, ConfigError> =>
  Effect.try({
    try: () => (path === undefined ? nothingWritten : readYaml(path)),
    catch: (cause) => new ConfigError({ source: path ?? '', problems: [messageOf(cause)] }),
  }).pipe(
    Effect.flatMap(({ value, lineOf }) => Effect.fromResult(resolveConfig(value, path ?? COMMAND_LINE, over, lineOf))),
  );
