// Says what is wrong with the value of a setting: what was written, and what may be written instead.
import { stringify } from 'yaml';
import { typeOf, type Entry } from './declare.js';
import { nearestName } from './nearest-name.js';

/** Longer texts, lists and mappings are not repeated: what is written in a wrong place may hold a secret. */
const LONGEST_SHOWN = 60;

function shown(value: unknown): string {
  if (value === '') return 'empty';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object' && value !== null) return Object.keys(value).length === 0 ? 'empty' : 'a mapping';
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length > LONGEST_SHOWN ? 'a long text' : text;
}

/** What the message shows as an example; undefined if the type says enough. */
function exampleFor(
  value: unknown,
  { type, enum: words, title, pattern, examples = [], default: usual, items }: Partial<Entry>,
): unknown {
  if (words !== undefined || type === 'boolean') return undefined;
  const isScalar = typeof value === 'number' || typeof value === 'string';
  if (isScalar && pattern !== undefined && new RegExp(pattern).test(`${value}s`)) return `${value}s`;
  if (type === 'string' && title === undefined && typeof value === 'number') return String(value);
  const own = examples[0] ?? usual;
  if (own !== undefined && !(Array.isArray(own) && own.length === 0)) return own;
  const ofItem = items === undefined ? undefined : exampleFor(undefined, items);
  return ofItem === undefined ? undefined : [ofItem];
}

const layout = { collectionStyle: 'flow', flowCollectionPadding: false, lineWidth: 0 } as const;

/** @param value undefined if a value is missing */
export function wrongValue(value: unknown, entry: Partial<Entry>): string {
  const { enum: words } = entry;
  const what = value === undefined ? 'is missing' : `cannot be ${shown(value)}`;
  const type = typeOf(entry);
  const article = type.startsWith('`') ? '' : /^[aeiou]/.test(type) ? 'an ' : 'a ';
  const near = words === undefined || typeof value !== 'string' ? undefined : nearestName(value, words);
  if (near !== undefined) return `${what}; write ${type}; did you mean \`${near}\`?`;
  const example = exampleFor(value, entry);
  const text = example === undefined ? '' : stringify(example, layout).trim();
  return `${what}; write ${article}${type}${text === '' || text.length > LONGEST_SHOWN ? '' : `, such as ${text}`}`;
}
