// Which values a setting may have in the configuration, and how they are read.
import * as Duration from 'effect/Duration';
import * as Effect from 'effect/Effect';
import * as Schema from 'effect/Schema';
import * as SchemaGetter from 'effect/SchemaGetter';
import * as SchemaIssue from 'effect/SchemaIssue';
import { rangeOf } from './cidr.js';

export const labels = Schema.Record(Schema.String, Schema.String).annotate({ title: 'mapping of strings' });
export const port = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 65535 })).annotate({ title: 'port' });
export const count = (atLeast: number) =>
  Schema.Int.check(Schema.isGreaterThanOrEqualTo(atLeast)).annotate({ title: `integer, at least ${atLeast}` });

interface Form<Written, Value> {
  readonly written: Schema.Codec<Written>;
  readonly value: Schema.Codec<Value>;
  /** Undefined if it does not have this form. */
  readonly parse: (written: Written) => Value | undefined;
  /** The message for that case. */
  readonly complaint: (written: Written) => string;
  /** The form as far as a JSON schema can express it. */
  readonly pattern?: string;
}

/** A value that people write as text in some form, and that the agent reads as something else. */
const read = <Written, Value>(title: string, { written, value, parse, complaint, pattern }: Form<Written, Value>) =>
  written.annotate({ title, pattern }).pipe(
    Schema.decodeTo(value, {
      decode: SchemaGetter.transformEffect((text: Written) => {
        const parsed = parse(text);
        if (parsed === undefined) return Effect.fail(new SchemaIssue.InvalidValue({ message: complaint(text) }));
        return Effect.succeed(parsed);
      }),
      encode: SchemaGetter.forbidden(() => 'a configuration is only read'),
    }),
  );

// sun_path of unix(7) has 108 bytes, the last of which is 0.
const LONGEST_SOCKET_PATH = 107;

export const socketPath = read('absolute path', {
  written: Schema.String,
  value: Schema.String,
  parse: (path) => (path.startsWith('/') && Buffer.byteLength(path) <= LONGEST_SOCKET_PATH ? path : undefined),
  complaint: () => `an absolute path of at most ${LONGEST_SOCKET_PATH} bytes is expected`,
});

/** The most bytes that the guard compares (guard_config of bpf/maps.h has room for one more). */
const LONGEST_LOGS_PATH = 127;

export const logsPath = read('absolute path', {
  written: Schema.String,
  value: Schema.String,
  parse: (path) => (/^\/+[^/]/.test(path) && Buffer.byteLength(path) <= LONGEST_LOGS_PATH ? path : undefined),
  complaint: () => `an absolute path of at most ${LONGEST_LOGS_PATH} bytes is expected`,
});

const durationForm = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/;
const durationUnits: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

const durationThat = (isAllowed: (ms: number) => boolean) =>
  read('duration', {
    written: Schema.Union([Schema.Finite, Schema.String]),
    value: Schema.Duration,
    pattern: durationForm.source,
    parse: (written) => {
      const text = typeof written === 'string' ? durationForm.exec(written.trim()) : [undefined, written, 's'];
      const ms = Number(text?.[1]) * (durationUnits[text?.[2] ?? ''] ?? Number.NaN);
      return isAllowed(ms) ? Duration.millis(ms) : undefined;
    },
    complaint: (written) => `${written} is not a duration; write it like 30s or 5m`,
  });

/** `30s`, `5m`, `500ms`, or a bare number of seconds; above 0. */
export const duration = durationThat((ms) => ms > 0);
/** The same, and 0. */
export const durationOrNone = durationThat((ms) => ms >= 0);

const listenForm = /^(?:\[([0-9a-fA-F:.]+)\]|([^:\s]*)):(\d{1,5})$/;

/** `127.0.0.1:9090`, `[::1]:9090` or `:9090` (every address). */
export const listenAddress = read('address and port', {
  written: Schema.String,
  value: Schema.Struct({ host: Schema.String, port: Schema.Int }),
  parse: (written) => {
    const [, ipv6, name, number] = listenForm.exec(written) ?? [];
    const isPort = number !== undefined && Number(number) <= 65535;
    return isPort ? { host: ipv6 || name || '::', port: Number(number) } : undefined;
  },
  complaint: (written) => `${written} is not an address and port; write it like 127.0.0.1:15014`,
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
export const cidr = read('CIDR', {
  written: Schema.String,
  value: Schema.String,
  parse: rangeOf,
  complaint: (written) => `${written} is not a CIDR; write it like 10.0.0.0/8 or fd00::/8`,
});

/** A Kubernetes label selector: every requirement of it must hold. */
export const LabelSelector = Schema.Struct({
  matchLabels: Schema.optionalKey(labels),
  matchExpressions: Schema.optionalKey(
    Schema.Array(
      Schema.Struct({
        key: Schema.String,
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
}).annotate({ title: 'selector pair' });
export type EnablementSelector = typeof EnablementSelector.Type;
