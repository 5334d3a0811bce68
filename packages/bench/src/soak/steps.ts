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
      'agent-overlap',
      'ztunnel-kill',
      'ztunnel-start',
      'ztunnel-roll',
      'api-away',
      'api-back',
    ]),
  }),
  Schema.Struct({ do: Schema.Literal('pause'), ms: Schema.Int }),
  /** Everything is brought back that is away, and has to become what the model says. */
  Schema.Struct({ do: Schema.Literal('settle') }),
]);
export type Step = typeof Step.Type;
export type StepKind = Step['do'];

export const NAMESPACES = ['shop', 'bank', 'blog'] as const;
/** Names of pods: of one name there is at most one at a time. */
const PODS = ['p1', 'p2', 'p3', 'p4', 'p5', 'p6', 'p7'] as const;
const LONGEST_PAUSE_MS = 400;
/** How many steps there are between two settlements, on the average. */
const UNSETTLED = 9;

/** How often each kind comes, relatively. */
const WEIGHTS: readonly (readonly [Exclude<StepKind, 'settle'>, number])[] = [
  ['create', 22],
  ['delete', 7],
  ['object-delete', 2],
  ['object-claim', 2],
  ['finish', 2],
  ['container', 3],
  ['address-add', 3],
  ['address-remove', 2],
  ['sandbox', 3],
  ['pod-label', 6],
  ['pod-waiting', 2],
  ['namespace-label', 7],
  ['namespace-waiting', 2],
  ['lie', 8],
  ['agent-kill', 3],
  ['agent-stop', 2],
  ['agent-start', 6],
  ['agent-overlap', 2],
  ['ztunnel-kill', 3],
  ['ztunnel-start', 4],
  ['ztunnel-roll', 2],
  ['api-away', 1],
  ['api-back', 3],
  ['pause', 8],
];

/** Starts without the pauses of a real kubelet, for `without`. */
export const UNPAUSED = 'unpaused';

export const STEP_KINDS = WEIGHTS.map(([kind]) => kind);

export interface StepChoice {
  readonly random: () => number;
  readonly count: number;
  /** Kinds of steps, and kinds of starts and lies, that are left out. */
  readonly without: ReadonlySet<string>;
}

/** Random steps, after one namespace has been put into the mesh; the last one is a settlement. Those that make no sense when it is their turn are passed over then. */
export function randomSteps({ random, count, without }: StepChoice): Step[] {
  const pick = <T extends string>(items: readonly T[]): T => {
    const allowed = items.filter((item) => !without.has(item));
    const chosen = allowed[Math.floor(random() * allowed.length)] ?? items[0];
    if (chosen === undefined) throw new Error('there is nothing to choose from');
    return chosen;
  };
  const weights = WEIGHTS.filter(([kind]) => !without.has(kind));
  const total = weights.reduce((sum, [, weight]) => sum + weight, 0);
  const kind = (): Exclude<StepKind, 'settle'> => {
    let left = random() * total;
    return weights.find(([, weight]) => (left -= weight) < 0)?.[0] ?? 'pause';
  };
  /** Mostly what is usual. */
  const mostly = <T extends string>(usual: T, items: readonly T[]): T => (random() < 0.6 ? usual : pick(items));
  const one = (chosen: Exclude<StepKind, 'settle'>): Step => {
    const pod = pick(PODS);
    switch (chosen) {
      case 'create':
        return {
          do: chosen,
          pod,
          namespace: pick(NAMESPACES),
          label: mostly('no', LABELS),
          waiting: mostly('no', WAITINGS),
          start: mostly('ordinary', STARTS),
          hasPauses: random() < 0.5 || without.has(UNPAUSED),
          isAwaited: random() < 0.5,
        };
      case 'sandbox':
        return { do: chosen, pod, isReported: random() < 0.5 };
      case 'pod-label':
        return { do: chosen, pod, label: pick(LABELS) };
      case 'pod-waiting':
        return { do: chosen, pod, waiting: pick(WAITINGS) };
      case 'namespace-label':
        return { do: chosen, namespace: pick(NAMESPACES), label: mostly('ambient', ['ambient', 'no']) };
      case 'namespace-waiting':
        return { do: chosen, namespace: pick(NAMESPACES), waiting: pick(WAITINGS) };
      case 'lie':
        return { do: chosen, pod, lie: pick(LIES), other: pick(PODS) };
      case 'pause':
        return { do: chosen, ms: Math.floor(random() * LONGEST_PAUSE_MS) };
      case 'delete':
      case 'object-delete':
      case 'object-claim':
      case 'finish':
      case 'container':
      case 'address-add':
      case 'address-remove':
        return { do: chosen, pod };
      default:
        return { do: chosen };
    }
  };
  const steps = Array.from({ length: count }, (): Step => (random() < 1 / UNSETTLED ? { do: 'settle' } : one(kind())));
  return [
    { do: 'namespace-label', namespace: NAMESPACES[0], label: 'ambient' },
    { do: 'settle' },
    ...steps,
    { do: 'settle' },
  ];
}

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
