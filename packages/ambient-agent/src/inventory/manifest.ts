// Turns the text of a manifest file into Pods and Namespaces, or into what is wrong with it: document, line, field, remedy.
import * as Result from 'effect/Result';
import * as Schema from 'effect/Schema';
import { isNode, isScalar, LineCounter, parseAllDocuments, visit, type Document } from 'yaml';
import { messageOf } from '../failure/message-of.js';
import { describeIssue, pathText } from '../config/schema-issue.js';
import { NamespaceObject, PodObject, type Namespace, type Pod } from './model.js';
import { trimNamespace, trimPod } from './trim.js';

export interface ManifestProblem {
  readonly file: string;
  /** 1 is the first document of the file. */
  readonly document: number;
  /** 1 is the first line. */
  readonly line: number;
  /** Such as `status.podIPs[0].ip`; '' stands for the whole document. */
  readonly field: string;
  readonly text: string;
  readonly remedy: string;
}

export interface Manifest {
  readonly pods: readonly Pod[];
  readonly namespaces: readonly Namespace[];
  /** If there are any, nothing else of this file may be used. */
  readonly problems: readonly ManifestProblem[];
}

/** One sentence for a log line. */
export function describeProblem({ file, document, line, field, text, remedy }: ManifestProblem): string {
  const place = field === '' ? '' : ` at ${field}`;
  return `${file}: document ${document}, line ${line}${place}: ${text}; ${remedy}`;
}

type Key = string | number;

const decodePod = Schema.decodeUnknownResult(PodObject);
const decodeNamespace = Schema.decodeUnknownResult(NamespaceObject);

// The first problems are enough to show that a file is wrong all over.
const MAX_PROBLEMS = 20;

const syntaxRemedy = 'fix the YAML; until then the objects last read from this file stay in force';
const fieldRemedy = 'correct the field; until then the objects last read from this file stay in force';

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Pure. A text without objects is not a problem: an empty file is an empty list. */
export function parseManifest(text: string, file: string): Manifest {
  const lines = new LineCounter();
  // The parser's own check for duplicate keys takes time that grows with the square of their number; see duplicateKey().
  const options = { lineCounter: lines, prettyErrors: false, merge: true, uniqueKeys: false };
  const documents = parseAllDocuments(text, options);
  const reader = new ManifestReader(file, lines);
  if (Array.isArray(documents)) for (const [index, document] of documents.entries()) reader.read(document, index + 1);
  return reader.manifest;
}

/** The first duplicate key of a document, and where it is. */
function duplicateKey(document: Document.Parsed): { readonly key: string; readonly offset: number } | undefined {
  let found: { key: string; offset: number } | undefined;
  visit(document, {
    Map: (_key, { items }) => {
      const seen = new Set<unknown>();
      for (const { key } of items) {
        if (!isScalar(key) || key.value === '<<' || typeof key.value === 'symbol') continue;
        if (seen.has(key.value)) {
          found = { key: String(key.value), offset: key.range?.[0] ?? 0 };
          return visit.BREAK;
        }
        seen.add(key.value);
      }
      return undefined;
    },
  });
  return found;
}

class ManifestReader {
  readonly #pods: Pod[] = [];
  readonly #namespaces: Namespace[] = [];
  readonly #problems: ManifestProblem[] = [];
  #problemCount = 0;
  readonly #file: string;
  readonly #lines: LineCounter;

  constructor(file: string, lines: LineCounter) {
    this.#file = file;
    this.#lines = lines;
  }

  get manifest(): Manifest {
    const problems = [...this.#problems];
    const [first] = problems;
    const more = this.#problemCount - problems.length;
    if (first !== undefined && more > 0) {
      const text = `${more} more problem${more === 1 ? ' is' : 's are'} in this file`;
      problems.push({ ...first, field: '', text, remedy: 'correct those above to see them' });
    }
    return { pods: this.#pods, namespaces: this.#namespaces, problems };
  }

  read(document: Document.Parsed, number: number): void {
    for (const error of document.errors) {
      const { line } = this.#lines.linePos(error.pos[0]);
      this.#report(number, line, '', error.message.split('\n')[0] ?? error.message, syntaxRemedy);
    }
    if (document.errors.length > 0) return;
    const twice = duplicateKey(document);
    if (twice !== undefined) {
      const { line } = this.#lines.linePos(twice.offset);
      this.#report(number, line, '', `the key \`${twice.key}\` occurs twice`, syntaxRemedy);
      return;
    }
    let value: unknown;
    try {
      value = document.toJS({ maxAliasCount: 100 });
    } catch (cause) {
      this.#report(number, this.#lineOf(document, []), '', messageOf(cause), syntaxRemedy);
      return;
    }
    if (value === null || value === undefined) return;
    this.#object(document, number, value, []);
  }

  #object(document: Document.Parsed, number: number, value: unknown, at: readonly Key[]): void {
    if (!isObject(value) || typeof value['kind'] !== 'string') {
      const text = 'this is not a Kubernetes object: it has no `kind`';
      this.#report(
        number,
        this.#lineOf(document, at),
        pathText(at),
        text,
        'write one object per document, with `kind` and `metadata`',
      );
      return;
    }
    const { kind } = value;
    if (kind === 'Pod')
      this.#decode(document, number, at, decodePod(value, { errors: 'all' }), (pod) => this.#pods.push(trimPod(pod)));
    else if (kind === 'Namespace') {
      const decoded = decodeNamespace(value, { errors: 'all' });
      this.#decode(document, number, at, decoded, (namespace) => this.#namespaces.push(trimNamespace(namespace)));
    } else if (kind === 'List' || kind === 'PodList' || kind === 'NamespaceList')
      this.#list(document, number, value, at, kind);
  }

  #list(
    document: Document.Parsed,
    number: number,
    list: Record<string, unknown>,
    at: readonly Key[],
    kind: string,
  ): void {
    const items = list['items'] ?? [];
    if (!Array.isArray(items)) {
      this.#report(
        number,
        this.#lineOf(document, [...at, 'items']),
        pathText([...at, 'items']),
        'a sequence is expected',
        fieldRemedy,
      );
      return;
    }
    // The items of a PodList have no kind; those of a List have one.
    const implied = kind === 'List' ? undefined : kind.slice(0, -'List'.length);
    for (const [index, item] of (items as unknown[]).entries()) {
      const whole = implied !== undefined && isObject(item) ? { kind: implied, ...item } : item;
      this.#object(document, number, whole, [...at, 'items', index]);
    }
  }

  #decode<A>(
    document: Document.Parsed,
    number: number,
    at: readonly Key[],
    decoded: Result.Result<A, Schema.SchemaError>,
    keep: (value: A) => void,
  ): void {
    if (Result.isSuccess(decoded)) {
      keep(decoded.success);
      return;
    }
    for (const { keys, text } of describeIssue(decoded.failure.issue)) {
      const path = [...at, ...keys];
      this.#report(number, this.#lineOf(document, path), pathText(path), text, fieldRemedy);
    }
  }

  /** The line of the deepest part of a path that the document has. */
  #lineOf(document: Document.Parsed, path: readonly Key[]): number {
    for (let length = path.length; length > 0; length--) {
      const node: unknown = document.getIn(path.slice(0, length), true);
      if (isNode(node) && node.range) return this.#lines.linePos(node.range[0]).line;
    }
    const start = isNode(document.contents) ? document.contents.range?.[0] : undefined;
    return this.#lines.linePos(start ?? document.range[0]).line;
  }

  #report(document: number, line: number, field: string, text: string, remedy: string): void {
    this.#problemCount += 1;
    if (this.#problems.length >= MAX_PROBLEMS) return;
    this.#problems.push({ file: this.#file, document, line, field, text, remedy });
  }
}
