// Reads the YAML file, lays the command line's values over it, checks everything, fills in the defaults.
import { readFileSync } from 'node:fs';
import * as Effect from 'effect/Effect';
import * as Result from 'effect/Result';
import * as Schema from 'effect/Schema';
import { parseDocument } from 'yaml';
import { rangeOf } from './cidr.js';
import { describeIssue } from './schema-issue.js';
import { withDefaults, type AgentConfig } from './config.js';
import { ConfigError } from './errors.js';
import { nearestName } from './nearest-name.js';
import { allowedNames, ConfigFile } from './schema.js';

type Tree = Record<string, unknown>;

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** An empty section (`policy:` and nothing) is YAML's null; it says nothing, so it is left out. */
function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (!isTree(value)) return value;
  const kept = Object.entries(value).filter(([, child]) => child !== null && child !== undefined);
  return Object.fromEntries(kept.map(([name, child]) => [name, withoutNulls(child)]));
}

function overlay(base: Tree, over: Tree): Tree {
  const result: Tree = { ...base };
  for (const [name, value] of Object.entries(over)) {
    const below = result[name];
    result[name] = isTree(value) && isTree(below) ? overlay(below, value) : value;
  }
  return result;
}

function unknownName(name: string, section: string | undefined, allowed: readonly string[]): string {
  const place = section === undefined ? name : `${section}.${name}`;
  const near = nearestName(name, allowed);
  const remedy = near === undefined ? `known here: ${allowed.join(', ')}` : `did you mean \`${near}\`?`;
  return `\`${place}\` is not a setting; ${remedy}`;
}

function unknownNames(tree: Tree): string[] {
  const problems: string[] = [];
  for (const [name, value] of Object.entries(tree)) {
    if (!allowedNames.top.includes(name)) problems.push(unknownName(name, undefined, allowedNames.top));
    const allowed = allowedNames.sections[name];
    if (allowed === undefined || !isTree(value)) continue;
    for (const below of Object.keys(value))
      if (!allowed.includes(below)) problems.push(unknownName(below, name, allowed));
  }
  return problems;
}

const durationUnits: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** `30s`, `5m`, `500ms`, or a bare number of seconds -> milliseconds; undefined when it is none of these or not above 0. Pure. */
export function parseDuration(value: string | number): number | undefined {
  if (typeof value === 'number') return value > 0 ? value * 1000 : undefined;
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(value.trim());
  const ms = match === null ? 0 : Number(match[1]) * (durationUnits[match[2] ?? ''] ?? 0);
  return ms > 0 ? ms : undefined;
}

/** `127.0.0.1:9090`, `[::1]:9090` or `:9090` (every address). Pure. */
export function parseListen(value: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^:\s]*)):(\d{1,5})$/i.exec(value);
  const port = Number(match?.[3]);
  if (match === null || port > 65535) return undefined;
  const host = match[1] ?? match[2] ?? '';
  return { host: host === '' ? '::' : host, port };
}

/** The configuration of a tree of values, or all that is wrong with it. Pure but for the default node name. */
export function resolveConfig(
  tree: unknown,
  source: string,
  env: NodeJS.ProcessEnv = {},
): Result.Result<AgentConfig, ConfigError> {
  const cleaned = withoutNulls(tree ?? {});
  if (!isTree(cleaned)) {
    return Result.fail(
      new ConfigError({ source, problems: ['a mapping of settings is expected, such as `nodeName: node-1`'] }),
    );
  }
  const problems = unknownNames(cleaned);
  const decoded = Schema.decodeUnknownResult(ConfigFile)(cleaned, { errors: 'all' });
  if (Result.isFailure(decoded))
    problems.push(...describeIssue(decoded.failure.issue).map(({ path, text }) => `\`${path}\`: ${text}`));
  if (Result.isFailure(decoded)) return Result.fail(new ConfigError({ source, problems }));
  const file = decoded.success;

  const duration = (place: string, value: string | number | undefined): number | undefined => {
    const ms = value === undefined ? undefined : parseDuration(value);
    if (value !== undefined && ms === undefined)
      problems.push(`\`${place}\`: ${value} is not a duration; write it like 30s or 5m`);
    return ms;
  };
  const resyncIntervalMs = duration('resyncInterval', file.resyncInterval);
  const watchSilenceMs = duration('inventory.watchSilence', file.inventory?.watchSilence);
  const listen = file.metrics?.listen === undefined ? undefined : parseListen(file.metrics.listen);
  if (file.metrics?.listen !== undefined && listen === undefined) {
    problems.push(
      `\`metrics.listen\`: ${file.metrics.listen} is not an address and port; write it like 127.0.0.1:15014`,
    );
  }
  const outboundCIDRs: string[] = [];
  for (const [index, cidr] of (file.exclude?.outboundCIDRs ?? []).entries()) {
    const canonical = rangeOf(cidr);
    if (canonical === undefined) {
      problems.push(`\`exclude.outboundCIDRs[${index}]\`: ${cidr} is not a CIDR; write it like 10.0.0.0/8 or fd00::/8`);
    } else outboundCIDRs.push(canonical);
  }
  if (problems.length > 0) return Result.fail(new ConfigError({ source, problems }));
  return Result.succeed(withDefaults(file, { resyncIntervalMs, watchSilenceMs, listen, outboundCIDRs }, env));
}

function parseYaml(text: string, source: string): Result.Result<Tree, ConfigError> {
  const document = parseDocument(text);
  const [error] = document.errors;
  if (error !== undefined) return Result.fail(new ConfigError({ source, problems: [`not YAML: ${error.message}`] }));
  let value: unknown;
  try {
    value = document.toJS();
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    const remedy = 'put a value that begins with `*` or `&` in quotes';
    return Result.fail(new ConfigError({ source, problems: [`not YAML: ${why}; ${remedy}`] }));
  }
  if (value === null || value === undefined) return Result.succeed({});
  if (isTree(value)) return Result.succeed(value);
  return Result.fail(
    new ConfigError({ source, problems: ['a mapping of settings is expected, such as `nodeName: node-1`'] }),
  );
}

export interface ConfigOverrides {
  /** A tree like the file's; undefined values are left out. */
  readonly values?: Record<string, unknown>;
  readonly env?: NodeJS.ProcessEnv;
}

/** The configuration of a file (none: defaults), with the command line's values laid over it. */
export const loadConfig = (
  path: string | undefined,
  overrides: ConfigOverrides = {},
): Effect.Effect<AgentConfig, ConfigError> =>
  Effect.suspend(() => {
    let base: Tree = {};
    if (path !== undefined) {
      let text: string;
      try {
        text = readFileSync(path, 'utf8');
      } catch (cause) {
        const why = cause instanceof Error ? cause.message : String(cause);
        return Effect.fail(
          new ConfigError({ source: path, problems: [`cannot be read (${why}); name an existing file with --config`] }),
        );
      }
      const parsed = parseYaml(text, path);
      if (Result.isFailure(parsed)) return Effect.fail(parsed.failure);
      base = parsed.success;
    }
    const over = withoutNulls(overrides.values ?? {});
    const tree = overlay(base, isTree(over) ? over : {});
    return Effect.fromResult(resolveConfig(tree, path ?? 'command line', overrides.env ?? process.env));
  });
