// Which values a setting may have in the configuration, and how they are read.
import * as Duration from 'effect/Duration';
import * as Effect from 'effect/Effect';
import * as Schema from 'effect/Schema';
import * as SchemaGetter from 'effect/SchemaGetter';
import * as SchemaIssue from 'effect/SchemaIssue';
import { rangeOf } from './cidr.js';

// The checks are on what is read, because a check of what is written would hide the annotations of the setting.
export const text = Schema.String.pipe(Schema.decodeTo(Schema.String.check(Schema.isNonEmpty())));

const strings = Schema.Record(Schema.String, Schema.String);
export const labels = strings.annotate({ title: 'mapping of strings' });
export const someLabels = labels.pipe(Schema.decodeTo(strings.check(Schema.isMinProperties(1))));

const integer = (title: string, minimum: number, maximum: number) =>
  Schema.Int.check(Schema.isBetween({ minimum, maximum })).annotate({
    title: `${title} from ${minimum} to ${maximum}`,
  });

export const port = integer('port', 1, 65535).annotate({ examples: [8080] });

/** The largest hash map that a kernel makes (htab_map_alloc of kernel/bpf/hashtab.c). */
const LARGEST_COUNT = 2 ** 31;

export const count = (atLeast: number) => integer('integer', atLeast, LARGEST_COUNT);

interface Form<Value> {
  readonly value: Schema.Codec<Value>;
  /** Undefined if it does not have this form. */
  readonly parse: (written: string) => Value | undefined;
  readonly examples: readonly string[];
  /** The form as far as a JSON schema can express it, in what JavaScript and Go have in common. */
  readonly pattern?: string;
}

/** A value that people write as text in some form, and that the agent reads as something else. */
const read = <Value>(title: string, { value, parse, examples, pattern }: Form<Value>) =>
  Schema.String.annotate({ title, examples, pattern }).pipe(
    Schema.decodeTo(value, {
      decode: SchemaGetter.transformEffect((written: string) => {
        const parsed = parse(written);
        return parsed === undefined ? Effect.fail(new SchemaIssue.InvalidValue()) : Effect.succeed(parsed);
      }),
      encode: SchemaGetter.forbidden(() => 'a configuration is only read'),
    }),
  );

const absolutePath = (longest: number, form: RegExp, example: string) =>
  read(`absolute path of at most ${longest} bytes`, {
    value: Schema.String,
    parse: (path) => (form.test(path) && Buffer.byteLength(path) <= longest ? path : undefined),
    examples: [example],
  });

// sun_path of unix(7) has 108 bytes, the last of which is 0.
export const socketPath = absolutePath(107, /^\//, '/run/ztunnel.sock');

/** As many bytes as the guard compares (guard_config of bpf/maps.h has room for one more). */
export const logsPath = absolutePath(127, /^\/+[^/]/, '/var/log/pods');

/** Milliseconds. */
const durationUnits: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

const durationOf = (title: string, number: string, examples: readonly string[]) => {
  const form = new RegExp(`^(${number})(ms|s|m|h)$`);
  return read(`${title} with its unit (ms, s, m or h)`, {
    value: Schema.Duration,
    examples,
    pattern: form.source,
    parse: (written) => {
      const [, digits, unit = ''] = form.exec(written) ?? [];
      const ms = Number(digits) * (durationUnits[unit] ?? Number.NaN);
      return Number.isFinite(ms) ? Duration.millis(ms) : undefined;
    },
  });
};

/** `30s`, `5m`, `500ms`; above 0. */
export const duration = durationOf('duration longer than 0,', '\\d*[1-9]\\d*(?:\\.\\d+)?|\\d+\\.\\d*[1-9]\\d*', [
  '30s',
]);
/** The same, and `0s`. */
export const durationOrNone = durationOf('duration', '\\d+(?:\\.\\d+)?', ['2s']);

const listenForm = /^(?:\[([0-9a-fA-F:.]+)\]|([^:\s]*)):(\d{1,5})$/;

/** `127.0.0.1:9090`, `[::1]:9090` or `:9090` (every address). */
export const listenAddress = read('address and port', {
  value: Schema.Struct({ host: Schema.String, port: Schema.Int }),
  examples: ['127.0.0.1:15014'],
  parse: (written) => {
    const [, ipv6, name, number] = listenForm.exec(written) ?? [];
    const isPort = number !== undefined && Number(number) <= 65535;
    return isPort ? { host: ipv6 || name || '::', port: Number(number) } : undefined;
  },
});

/** What becomes of connections that cannot reach ztunnel now. */
export const waiting = Schema.Literals(['hold', 'refuse', 'open']);

/** The same, in which files may still say `closed`. */
export const formerlyClosed = Schema.Literals(['hold', 'refuse', 'open', 'closed']).pipe(
  Schema.decodeTo(waiting, {
    decode: SchemaGetter.transform((written) => (written === 'closed' ? 'refuse' : written)),
    encode: SchemaGetter.forbidden(() => 'a configuration is only read'),
  }),
);

/** A range of addresses, or one address; as canonical text. */
export const cidr = read('CIDR', { value: Schema.String, parse: rangeOf, examples: ['10.0.0.0/8'] });

/** A Kubernetes label selector: every requirement of it must hold. */
export const LabelSelector = Schema.Struct({
  matchLabels: Schema.optionalKey(labels),
  matchExpressions: Schema.optionalKey(
    Schema.Array(
      Schema.Struct({
        key: text,
        operator: Schema.Literals(['In', 'NotIn', 'Exists', 'DoesNotExist']),
        values: Schema.optionalKey(Schema.Array(Schema.String)),
      }),
    ),
  ),
});
export type LabelSelector = typeof LabelSelector.Type;

/** One of istio-cni's `ambient.enablementSelectors`: a pod that matches both parts is wanted; an absent part matches every pod. */
export const EnablementSelector = Schema.Struct({
  podSelector: Schema.optionalKey(LabelSelector),
  namespaceSelector: Schema.optionalKey(LabelSelector),
}).annotate({ title: 'pair of selectors' });
export type EnablementSelector = typeof EnablementSelector.Type;
