// Label and field selectors, as in list and watch (apimachinery/pkg/labels, pkg/fields).
import { memberOf } from './merge-patch.js';
import type { ApiObject, Resource } from './resources.js';
import { badRequest, Refusal } from './status.js';

export type Match = (object: ApiObject) => boolean;

const SET = /^(?<key>[^\s!=,()]+)\s+(?<operator>in|notin)\s*\((?<values>[^)]*)\)$/;

/** `a=b,c!=d,e,!f,g in (h,i),j notin (k)`; throws a `Refusal` for anything else. */
export function labelSelector(text: string): Match {
  const requirements = splitOutsideParentheses(text).map((term): Match => {
    const set = SET.exec(term)?.groups;
    if (set !== undefined) {
      const { key = '', operator, values = '' } = set;
      const wanted = new Set(values.split(',').map((value) => value.trim()));
      return operator === 'in'
        ? (object) => label(object, key) !== undefined && wanted.has(label(object, key) ?? '')
        : (object) => label(object, key) === undefined || !wanted.has(label(object, key) ?? '');
    }
    const [, key = '', operator, value = ''] = /^([^\s!=,()]+)\s*(==|=|!=)\s*([^\s!=,()]*)$/.exec(term) ?? [];
    if (operator === '!=') return (object) => label(object, key) !== value;
    if (operator !== undefined) return (object) => label(object, key) === value;
    if (/^![^\s!=,()]+$/.test(term)) return (object) => label(object, term.slice(1)) === undefined;
    if (/^[^\s!=,()]+$/.test(term)) return (object) => label(object, term) !== undefined;
    throw new Refusal(badRequest(`unable to parse requirement: found '${term}', expected: identifier or '='`));
  });
  return (object) => requirements.every((matches) => matches(object));
}

/** `spec.nodeName=a,metadata.name!=b`; throws a `Refusal` for a field that cannot select this resource. */
export function fieldSelector(text: string, resource: Resource): Match {
  const selectable = ['metadata.name', 'metadata.namespace', ...resource.selectableFields];
  const requirements = text
    .split(',')
    .filter((term) => term !== '')
    .map((term): Match => {
      const [, field = '', operator, value = ''] = /^([^=!]+)(==|=|!=)(.*)$/.exec(term) ?? [];
      if (operator === undefined)
        throw new Refusal(badRequest(`invalid selector: '${text}'; can't understand '${term}'`));
      if (!selectable.includes(field)) throw new Refusal(badRequest(`field label not supported: ${field}`));
      return (object) => (fieldOf(object, field) === value) === (operator !== '!=');
    });
  return (object) => requirements.every((matches) => matches(object));
}

/** The one name that `metadata.name=x` asks for: the authorizer then treats the request as one for that object. */
export function onlyName(fieldSelectorText: string): string | undefined {
  return /(?:^|,)metadata\.name==?([^,]+)/.exec(fieldSelectorText)?.[1];
}

function label(object: ApiObject, key: string): string | undefined {
  return object.metadata.labels?.[key];
}

/** An absent field counts as the empty string. */
function fieldOf(object: ApiObject, path: string): string {
  let value: unknown = object;
  for (const step of path.split('.')) value = memberOf(value, step);
  return typeof value === 'string' ? value : '';
}

function splitOutsideParentheses(text: string): string[] {
  return text
    .split(/,(?![^(]*\))/)
    .map((term) => term.trim())
    .filter((term) => term !== '');
}
