// The functions with which settings.ts declares the configuration: schemas that know their defaults, annotated with what
// documents and the chart say of them.
import * as Effect from 'effect/Effect';
import * as Option from 'effect/Option';
import * as Schema from 'effect/Schema';
import * as SchemaGetter from 'effect/SchemaGetter';

interface InChart {
  /** The chart has no such value, and the agent uses its default. */
  readonly isAbsent?: boolean;
  /** The path of the value, if it differs from the setting's. */
  readonly value?: string;
  /** The value's default, if it differs from the setting's. An empty value then leaves the default to the agent. */
  readonly default?: unknown;
  /** What the values' JSON schema says in addition to the setting's own. */
  readonly schema?: object;
  /** What the template writes instead of the value. If `value` is left out, there is no value. */
  readonly writes?: string;
}

type About<Written> = {
  /** One paragraph. */
  readonly description: string;
  /** What documents show for a setting whose default is missing or differs from machine to machine. */
  readonly examples?: readonly Written[];
  /** The path that the setting had before; files may still use it. */
  readonly formerly?: string;
  /** Where it is in the Helm chart. If left out, there is a value of the same path and default. */
  readonly chart?: InChart;
};

/** For a setting that the Helm chart leaves to the agent. */
export const notInChart: InChart = { isAbsent: true };

type Written = Schema.Codec<unknown, unknown>;

const annotated = <S extends Schema.Top>(schema: S, about: Schema.Annotations.Bottom<S['Encoded'], readonly []>): S =>
  Schema.annotateEncoded<S>(about)(schema) as S;

/** @param value the default, as it would be written; an Effect is run at every start */
export function setting<S extends Written>(
  schema: S,
  value: S['Encoded'] | Effect.Effect<S['Encoded']>,
  about: About<S['Encoded']>,
): Schema.withDecodingDefaultKey<S> {
  if (Effect.isEffect(value)) return annotated(schema, about).pipe(Schema.withDecodingDefaultKey(value));
  return annotated(schema, { ...about, default: value }).pipe(Schema.withDecodingDefaultKey(Effect.succeed(value)));
}

/** A setting without a default: undefined if it is left out. */
export const optional = <S extends Written>(
  schema: S,
  about: About<S['Encoded']> & Required<Pick<About<S['Encoded']>, 'examples' | 'chart'>>,
) =>
  Schema.optionalKey(annotated(schema, about)).pipe(
    Schema.decodeTo(Schema.UndefinedOr(Schema.toType(schema)), {
      decode: SchemaGetter.transformOptional(Option.orElseSome(() => undefined)),
      encode: SchemaGetter.forbidden(() => 'a configuration is only read'),
    }),
  );

/** @param isOneValue whether the chart has the section as one value, whose missing parts the agent fills in */
export const section = <F extends Schema.Struct.Fields>(
  description: string,
  fields: F,
  { isOneValue = false } = {},
): Schema.Struct<F> => annotated(Schema.Struct(fields), { description, isOneValue });

/** A section (which has `isOneValue`) or a setting, as JSON schema with the annotations. */
export interface Entry extends About<unknown> {
  readonly title?: string;
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly items?: Entry;
  readonly properties?: Readonly<Record<string, Entry>>;
  /** What the values of a mapping with any names are; false if it has only its {@link properties}. */
  readonly additionalProperties?: Entry | false;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly pattern?: string;
  readonly default?: unknown;
  readonly isOneValue?: boolean;
}

/** What may be written, in words. */
export function typeOf({ enum: values, items, title, type, properties }: Partial<Entry>): string {
  if (values !== undefined) return values.map((value) => `\`${value}\``).join(' or ');
  if (title !== undefined) return title;
  if (items !== undefined) return `list of ${typeOf(items).replace(/\w+/, '$&s')}`;
  if (properties !== undefined) return `mapping of ${Object.keys(properties).join(', ')}`;
  return type === 'boolean' ? '`true` or `false`' : (type ?? 'anything');
}

export function jsonSchemaOf(declared: Schema.Constraint): Entry {
  const own = ['chart', 'formerly', 'isOneValue', 'pattern'];
  const includeAnnotationKey = (key: string): boolean => own.includes(key);
  return Schema.toJsonSchemaDocument(declared, { onExcessProperty: 'error', includeAnnotationKey })
    .schema as unknown as Entry;
}

/** Every section and setting in a section, with its path; a section comes before what is in it. */
export function* entriesOf(
  { isOneValue, properties = {} }: Entry,
  above: readonly string[] = [],
): Generator<readonly [path: readonly string[], entry: Entry]> {
  if (isOneValue === undefined) return;
  for (const [name, entry] of Object.entries(properties)) {
    yield [[...above, name], entry];
    yield* entriesOf(entry, [...above, name]);
  }
}
