// What can happen on a node, as plain data: a list of it can be printed, shortened, and played again.
import * as Schema from 'effect/Schema';

export const LABELS = ['ambient', 'none', 'no'] as const;
/** Of the label istio.io/dataplane-mode; `no`: there is no such label. */
export type Label = (typeof LABELS)[number];

export const WAITINGS = ['hold', 'refuse', 'open', 'maybe', 'no'] as const;
/** Of the annotation sluice/waiting; `no`: there is no such annotation, and `maybe` is none that is understood. */
export type Waiting = (typeof WAITINGS)[number];

export const STARTS = [
  'ordinary',
  'object-late',
  'status-never',
  'no-pause',
  'no-logs',
  'no-logs-object-late',
  'addresses-late',
  'static',
  'admin',
  'ipv6-only',
] as const;
export type StartKind = (typeof STARTS)[number];

export const LIES = [
  'absent',
  'empty-text',
  'empty-list',
  'wrong',
  'swapped',
  'duplicate',
  'ended',
  'node-absent',
  'truth',
] as const;
/** What Kubernetes says of a pod's addresses, phase or node instead of the truth; `swapped` takes those of another pod. */
export type Lie = (typeof LIES)[number];

const pod = Schema.String;
const namespace = Schema.String;
const label = Schema.Literals(LABELS);
const waiting = Schema.Literals(WAITINGS);

export const Step = Schema.Union([
  Schema.Struct({
    do: Schema.Literal('create'),
    pod,
    namespace,
    label,
    waiting,
    start: Schema.Literals(STARTS),
    /** Whether its start has a real kubelet's pauses. */
    hasPauses: Schema.Boolean,
    /** Whether the next step waits until it has been started. */
    isAwaited: Schema.Boolean,
  }),
  Schema.Struct({
    do: Schema.Literals([
      'delete',
      'object-delete',
      'object-claim',
      'finish',
      'container',
      'address-add',
      'address-remove',
    ]),
    pod,
  }),
  Schema.Struct({ do: Schema.Literal('sandbox'), pod, isReported: Schema.Boolean }),
  Schema.Struct({ do: Schema.Literal('pod-label'), pod, label }),
  Schema.Struct({ do: Schema.Literal('pod-waiting'), pod, waiting }),
  Schema.Struct({ do: Schema.Literal('namespace-label'), namespace, label }),
  Schema.Struct({ do: Schema.Literal('namespace-waiting'), namespace, waiting }),
  Schema.Struct({ do: Schema.Literal('lie'), pod, lie: Schema.Literals(LIES), other: pod }),
  Schema.Struct({
    do: Schema.Literals([
      'agent-kill',
      'agent-stop',
      'agent-start',
      'ztunnel-kill',
      'ztunnel-start',
      'ztunnel-roll',
      'api-away',
      'api-back',
    ]),
  }),
  /** Another agent stands by, and takes over when the first one ends. */
  Schema.Struct({ do: Schema.Literal('agent-overlap'), end: Schema.Literals(['kill', 'stop']) }),
  Schema.Struct({ do: Schema.Literal('pause'), ms: Schema.Int }),
  /** Everything is brought back that is away, and has to become what the model says. */
  Schema.Struct({ do: Schema.Literal('settle') }),
]);
export type Step = typeof Step.Type;
export type StepKind = Step['do'];

export const NAMESPACES = ['shop', 'bank', 'blog'] as const;

/** For people: `create p1 shop ambient ...`. Pure. */
export function stepText({ do: kind, ...rest }: Step): string {
  const words = Object.entries(rest).map(([key, value]) =>
    typeof value === 'boolean'
      ? value
        ? key
        : ''
      : key === 'pod' || key === 'namespace'
        ? String(value)
        : `${key}=${value}`,
  );
  return [kind, ...words.filter((word) => word !== '')].join(' ');
}
