// Steps that chance chooses, such that most of them make sense when it is their turn.
import { LABELS, LIES, NAMESPACES, STARTS, WAITINGS, type Step, type StepKind } from './steps.js';

type RandomKind = Exclude<StepKind, 'settle'>;

/** Names of pods: of one name there is at most one at a time. */
const PODS = ['p1', 'p2', 'p3', 'p4', 'p5', 'p6', 'p7'] as const;
const LONGEST_PAUSE_MS = 400;
/** How many steps there are between two settlements, on the average. */
const UNSETTLED = 9;
/** How often what is usual is chosen where there is a choice. */
const USUAL = 0.6;

/** How often each kind comes, relatively. */
const WEIGHTS: readonly (readonly [RandomKind, number])[] = [
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
/** The judging of pods and sandboxes that have not settled yet, for `without`. */
export const BIRTHS = 'births';

export const STEP_KINDS = WEIGHTS.map(([kind]) => kind);

export interface StepChoice {
  readonly random: () => number;
  readonly count: number;
  /** Kinds of steps, of starts and of lies that are left out. */
  readonly without: ReadonlySet<string>;
}

/** Random steps, after one namespace has been put into the mesh; the last one is a settlement. */
export function randomSteps({ random, count, without }: StepChoice): Step[] {
  const steps: Step[] = [{ do: 'namespace-label', namespace: NAMESPACES[0], label: 'ambient' }, { do: 'settle' }];
  const sketch = new Sketch();
  for (let n = 0; n < count; n++) {
    const step: Step = random() < 1 / UNSETTLED ? { do: 'settle' } : randomStep(sketch, random, without);
    sketch.take(step);
    steps.push(step);
  }
  return [...steps, { do: 'settle' }];
}

function randomStep(sketch: Sketch, random: () => number, without: ReadonlySet<string>): Step {
  const pick = <T extends string>(items: readonly T[]): T => {
    const allowed = items.filter((item) => !without.has(item));
    const chosen = allowed[Math.floor(random() * allowed.length)] ?? items[0];
    if (chosen === undefined) throw new Error('there is nothing to choose from');
    return chosen;
  };
  const mostly = <T extends string>(usual: T, items: readonly T[]): T => (random() < USUAL ? usual : pick(items));
  const possible = WEIGHTS.filter(([kind]) => !without.has(kind) && sketch.allows(kind));
  let left = random() * possible.reduce((sum, [, weight]) => sum + weight, 0);
  const kind = possible.find(([, weight]) => (left -= weight) < 0)?.[0] ?? 'pause';
  const present = (): string => pick([...sketch.pods]);
  switch (kind) {
    case 'create':
      return {
        do: kind,
        pod: pick(PODS.filter((name) => !sketch.pods.has(name))),
        namespace: pick(NAMESPACES),
        label: mostly('no', LABELS),
        waiting: mostly('no', WAITINGS),
        start: mostly('ordinary', STARTS),
        hasPauses: random() < 0.5 || without.has(UNPAUSED),
        isAwaited: random() < 0.5,
      };
    case 'sandbox':
      return { do: kind, pod: present(), isReported: random() < 0.5 };
    case 'pod-label':
      return { do: kind, pod: present(), label: pick(LABELS) };
    case 'pod-waiting':
      return { do: kind, pod: present(), waiting: pick(WAITINGS) };
    case 'namespace-label':
      return { do: kind, namespace: pick(NAMESPACES), label: mostly('ambient', ['ambient', 'no']) };
    case 'namespace-waiting':
      return { do: kind, namespace: pick(NAMESPACES), waiting: pick(WAITINGS) };
    case 'lie':
      return { do: kind, pod: present(), lie: pick(LIES), other: present() };
    case 'agent-overlap':
      return { do: kind, end: pick(['kill', 'stop']) };
    case 'pause':
      return { do: kind, ms: Math.floor(random() * LONGEST_PAUSE_MS) };
    case 'delete':
    case 'object-delete':
    case 'object-claim':
    case 'finish':
    case 'container':
    case 'address-add':
    case 'address-remove':
      return { do: kind, pod: present() };
    default:
      return { do: kind };
  }
}

/** What is there after the steps so far, as far as the choice of the next one needs it. */
class Sketch {
  readonly pods = new Set<string>();
  #agentIsUp = true;
  #apiIsThere = true;
  #ztunnelIsUp = true;

  allows(kind: RandomKind): boolean {
    switch (kind) {
      case 'create':
        return this.pods.size < PODS.length;
      case 'agent-start':
        return !this.#agentIsUp && this.#apiIsThere;
      case 'agent-overlap':
        return this.#agentIsUp && this.#apiIsThere;
      case 'agent-kill':
      case 'agent-stop':
        return this.#agentIsUp;
      case 'ztunnel-start':
        return !this.#ztunnelIsUp;
      case 'ztunnel-roll':
        return this.#ztunnelIsUp && this.#agentIsUp;
      case 'ztunnel-kill':
        return this.#ztunnelIsUp;
      case 'api-back':
        return !this.#apiIsThere;
      case 'api-away':
        return this.#apiIsThere;
      case 'pause':
      case 'namespace-label':
      case 'namespace-waiting':
        return true;
      default:
        return this.pods.size > 0;
    }
  }

  take(step: Step): void {
    switch (step.do) {
      case 'create':
        this.pods.add(step.pod);
        break;
      case 'delete':
        this.pods.delete(step.pod);
        break;
      case 'agent-kill':
      case 'agent-stop':
        this.#agentIsUp = false;
        break;
      case 'agent-start':
        this.#agentIsUp = true;
        break;
      case 'ztunnel-kill':
        this.#ztunnelIsUp = false;
        break;
      case 'ztunnel-start':
        this.#ztunnelIsUp = true;
        break;
      case 'api-away':
        this.#apiIsThere = false;
        break;
      case 'api-back':
        this.#apiIsThere = true;
        break;
      case 'settle':
        this.#agentIsUp = this.#apiIsThere = this.#ztunnelIsUp = true;
        break;
      default:
    }
  }
}
