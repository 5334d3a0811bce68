// Reads the YAML file, overrides it with the command line's values, checks everything and fills in the defaults.
import { readFileSync } from 'node:fs';
import * as Effect from 'effect/Effect';
import * as Result from 'effect/Result';
import * as Schema from 'effect/Schema';
import { parseDocument } from 'yaml';
import type { AgentConfig } from './config.js';
import { entriesOf, jsonSchemaOf, type Entry } from './declare.js';
import { messageOf } from '../failure/message-of.js';
import { ConfigError } from './errors.js';
import { nearestName } from './nearest-name.js';
import { describeIssue, pathText } from './schema-issue.js';
import { settings } from './settings.js';

type Tree = Readonly<Record<string, unknown>>;

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Overrides one tree with another. A null, as in an empty section (`policy:` and nothing), counts as left out, at any depth. */
function overlay(base: Tree, over: Tree): Tree {
  const plain = (value: unknown, below: unknown = {}): unknown => {
    if (Array.isArray(value)) return value.map((item) => plain(item));
    return isTree(value) ? overlay(isTree(below) ? below : {}, value) : value;
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

/** The tree with its settings under their present names, where some were written under former ones. Pure. */
export function renamed(written: Tree, declared: Entry): { readonly tree: Tree; readonly problems: readonly string[] } {
  const problems: string[] = [];
  let tree = written;
  for (const [path, { formerly }] of entriesOf(declared)) {
    if (formerly === undefined) continue;
    const [value, rest] = taken(tree, formerly.split('.'));
    if (value === undefined) continue;
    const name = path.join('.');
    if (taken(rest, path)[0] !== undefined)
      problems.push(`\`${formerly}\` and \`${name}\` are the same setting; remove \`${formerly}\``);
    tree = overlay(at(path, value), rest);
  }
  return { tree, problems };
}

/** Also in what lists hold: a part of a selector that is left out matches everything, and a misspelt one must not. */
function unknownNames(value: unknown, { properties, items }: Entry, at: readonly (string | number)[] = []): string[] {
  if (Array.isArray(value) && items !== undefined)
    return value.flatMap((item, index) => unknownNames(item, items, [...at, index]));
  if (!isTree(value) || properties === undefined) return [];
  const names = Object.keys(properties);
  return Object.entries(value).flatMap(([name, child]) => {
    const path = [...at, name];
    const known = names.includes(name) ? properties[name] : undefined;
    if (known !== undefined) return unknownNames(child, known, path);
    const near = nearestName(name, names);
    const remedy = near === undefined ? `known here: ${names.join(', ')}` : `did you mean \`${near}\`?`;
    return [`\`${pathText(path)}\` is not a setting; ${remedy}`];
  });
}

/** Labels without a value, which {@link overlay} leaves out, so that a selector would match more than is written. */
function emptyLabels(
  value: unknown,
  { type, properties, items }: Entry,
  at: readonly (string | number)[] = [],
): string[] {
  if (Array.isArray(value) && items !== undefined)
    return value.flatMap((item, index) => emptyLabels(item, items, [...at, index]));
  if (!isTree(value)) return [];
  if (type === 'object' && properties === undefined)
    return Object.entries(value)
      .filter(([, label]) => label === null || label === undefined)
      .map(([name]) => `\`${pathText(at)}\`: the label \`${name}\` has no value; write '' for the empty one`);
  return Object.entries(properties ?? {}).flatMap(([name, entry]) => emptyLabels(value[name], entry, [...at, name]));
}

const declared = jsonSchemaOf(settings);
const names = Object.entries(declared.properties ?? {});
const sections = Object.fromEntries(names.filter(([, { properties }]) => properties).map(([name]) => [name, {}]));

/**
 * The configuration of a tree of values, or everything that is wrong with it. Pure, except for the default node name.
 * @param over values of the command line, which override those of the tree; undefined ones are left out
 */
export function resolveConfig(
  written: unknown,
  source: string,
  over: Tree = {},
): Result.Result<AgentConfig, ConfigError> {
  const file = written ?? {};
  if (!isTree(file)) {
    const problem = 'a mapping of settings is expected, such as `nodeName: node-1`';
    return Result.fail(new ConfigError({ source, problems: [problem] }));
  }
  const { tree: ofToday, problems } = renamed(overlay(sections, file), declared);
  const tree = overlay(ofToday, over);
  const decoded = Schema.decodeUnknownResult(settings)(tree, { errors: 'all' });
  const issues = Result.isFailure(decoded) ? describeIssue(decoded.failure.issue) : [];
  const all = [
    ...problems,
    ...unknownNames(tree, declared),
    ...emptyLabels(file, declared),
    ...issues.map(({ path, text }) => `\`${path}\`: ${text}`),
  ];
  if (Result.isFailure(decoded) || all.length > 0) return Result.fail(new ConfigError({ source, problems: all }));
  return Result.succeed(decoded.success);
}

/** The content of a file. @throws Error saying what is wrong with it, and what to do */
function readYaml(path: string): unknown {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new Error(`cannot be read (${messageOf(cause)}); name an existing file with --config`, { cause });
  }
  const document = parseDocument(text);
  const [error] = document.errors;
  if (error !== undefined) throw new Error(`not YAML: ${error.message}`);
  try {
    return document.toJS();
  } catch (cause) {
    throw new Error(`not YAML: ${messageOf(cause)}; put a value that begins with \`*\` or \`&\` in quotes`, { cause });
  }
}

/** The configuration of a file (without one, the defaults), overridden by the command line's values. */
export const loadConfig = (path: string | undefined, over: Tree = {}): Effect.Effect<AgentConfig, ConfigError> =>
  Effect.try({
    try: () => (path === undefined ? {} : readYaml(path)),
    catch: (cause) => new ConfigError({ source: path ?? '', problems: [messageOf(cause)] }),
  }).pipe(Effect.flatMap((written) => Effect.fromResult(resolveConfig(written, path ?? 'command line', over))));
