// Reads the configuration file, and knows in which line of it a setting is written.
import { readFileSync } from 'node:fs';
import { isMap, isNode, isScalar, LineCounter, parseDocument, type Document, type Node } from 'yaml';
import { messageOf } from '../failure/message-of.js';
import type { Key } from './schema-issue.js';

export interface Yaml {
  readonly value: unknown;
  /** The line of a setting, or of the nearest thing around it that is written; 1 is the first. */
  readonly lineOf: (keys: readonly Key[]) => number | undefined;
}

/** The node from which on a person reads a value: its key, if it has one. */
function nodeAt(document: Document, keys: readonly Key[]): Node | undefined {
  const around: unknown = document.getIn(keys.slice(0, -1), true);
  const pair = isMap(around)
    ? around.items.find(({ key }) => isScalar(key) && String(key.value) === keys.at(-1))
    : undefined;
  const node = pair?.key ?? document.getIn(keys, true);
  return isNode(node) ? node : undefined;
}

/** @throws Error saying what is wrong with the file, where, and what to do */
export function readYaml(path: string): Yaml {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new Error(`cannot be read (${messageOf(cause)}); name an existing file with --config`, { cause });
  }
  const lineCounter = new LineCounter();
  // The library's pretty errors would show the line itself, which may hold a secret if this is another program's file.
  const document = parseDocument(text, { lineCounter, prettyErrors: false });
  const [error] = document.errors;
  if (error !== undefined) {
    const [start] = error.pos;
    const key = error.code === 'DUPLICATE_KEY' ? /^[\w.-]+/.exec(text.slice(start)) : null;
    const what = key === null ? `not YAML: ${error.message}` : `\`${key[0]}\` is written twice; remove one of them`;
    throw new Error(`line ${lineCounter.linePos(start).line}: ${what}`);
  }
  const lineOf = (keys: readonly Key[]): number | undefined => {
    const start = nodeAt(document, keys)?.range?.[0];
    if (start !== undefined) return lineCounter.linePos(start).line;
    return keys.length === 0 ? undefined : lineOf(keys.slice(0, -1));
  };
  try {
    return { value: document.toJS(), lineOf };
  } catch (cause) {
    throw new Error(`not YAML: ${messageOf(cause)}; put a value that begins with \`*\` or \`&\` in quotes`, { cause });
  }
}
