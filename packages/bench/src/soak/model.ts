// Who may accept a pod's connections at every moment: the policy in its own words, without any of the agent's code.
//
//  1. A pod is wanted if its own label says `ambient`, or its namespace's does and its own does not say `none`. Static pods never are.
//  2. A wanted pod's connections are accepted by ztunnel in both directions, from its first instruction on; until it is in the mesh, and
//     while ztunnel is away, they wait or are refused. Only if `sluice/waiting` is `open` may they go directly meanwhile.
//  3. The connections of a pod that is not wanted are never accepted by ztunnel, and never refused.
//  4. A running pod whose label or namespace changes may be either until that has settled.
//  5. Nothing else takes a pod out of the mesh: no address, phase, node or object that Kubernetes lacks or invents, no new sandbox, no
//     agent and no ztunnel that ends.
//  6. Whether a pod is wanted can be known before its application runs: by its object, if the agent can read it in time; and if it
//     cannot, by the namespace in its directory of logs. Where neither is there, the pod may be either until it has settled; so may one
//     that only its own label wants, because how soon the agent reads that is a matter of time.
import type { Label, StartKind, Waiting } from './steps.js';

/** Who accepts a connection; `nobody` if it is refused. */
export type Party = 'mesh' | 'direct' | 'nobody';
export type Direction = 'out' | 'in';
export type Permits = Readonly<Record<Direction, ReadonlySet<Party>>>;
type Membership = 'in' | 'out';

export interface Birth {
  readonly name: string;
  readonly namespace: string;
  readonly label: Label;
  readonly waiting: Waiting;
  readonly start: StartKind;
  readonly hasPauses: boolean;
}

interface NamespaceState {
  label: Label;
  waiting: Waiting;
  /** The agent has had all the time to learn of its label. */
  isSettled: boolean;
}

export interface PodState {
  readonly birth: Birth;
  label: Label;
  waiting: Waiting;
  /** What it may be taken for. */
  taken: ReadonlySet<Membership>;
  /** The annotations that may be in force for it. */
  waitings: ReadonlySet<Waiting>;
  isSettled: boolean;
  /** It, or its sandbox, has not settled yet. */
  isNew: boolean;
  /** Its application may not run yet. */
  isStarting: boolean;
  /** The agent has had all the time to read its object. */
  isKnown: boolean;
  /** Kubernetes has its object, and says where it runs. */
  hasObject: boolean;
  /** What it was when its object went; its namespace has not changed since. */
  membershipAtLast: Membership | undefined;
}

const EITHER: ReadonlySet<Membership> = new Set<Membership>(['in', 'out']);

const PARTIES: ReadonlySet<Party> = new Set<Party>(['mesh', 'direct', 'nobody']);
const EVERYBODY: Permits = { out: PARTIES, in: PARTIES };

/** The value that counts: that of the pod, or else of the namespace, or else the node's. */
const DEFAULT_WAITING: Waiting = 'hold';

export interface ModelSettings {
  /** Whether every pod finds room in the maps. */
  readonly hasRoom: boolean;
  /** Whether anything is forbidden to a pod, or a new sandbox, before it has settled for the first time. */
  readonly judgesBirths: boolean;
}

export class Model {
  readonly #namespaces = new Map<string, NamespaceState>();
  readonly #pods = new Map<string, PodState>();
  #agentIsUp = true;
  #apiIsThere = true;
  #ztunnelServes = true;
  readonly #settings: ModelSettings;

  constructor(namespaces: readonly string[], settings: ModelSettings) {
    for (const name of namespaces) this.#namespaces.set(name, { label: 'no', waiting: 'no', isSettled: true });
    this.#settings = settings;
  }

  get pods(): ReadonlyMap<string, PodState> {
    return this.#pods;
  }

  isWanted(name: string): boolean {
    const pod = this.#pod(name);
    if (pod.birth.start === 'static') return false;
    if (pod.label !== 'no') return pod.label === 'ambient';
    return this.#namespace(pod.birth.namespace).label === 'ambient';
  }

  /** Undefined if it may be either for as long as its object is away. */
  membershipOf(name: string): Membership | undefined {
    const pod = this.#pod(name);
    return pod.hasObject ? (this.isWanted(name) ? 'in' : 'out') : pod.membershipAtLast;
  }

  create(birth: Birth): void {
    const pod: PodState = {
      birth,
      label: birth.label,
      waiting: birth.waiting,
      taken: new Set(),
      waitings: new Set(),
      isSettled: false,
      isNew: true,
      isStarting: true,
      isKnown: false,
      hasObject: true,
      membershipAtLast: undefined,
    };
    this.#pods.set(birth.name, pod);
    this.#knowAtBirth(pod);
    pod.waitings = new Set([this.#waitingOf(pod)]);
  }

  /** Its application runs. */
  started(name: string): void {
    this.#pod(name).isStarting = false;
  }

  remove(name: string): void {
    this.#pods.delete(name);
  }

  /** Throws for a pod without an object, as for one that does not exist. */
  labelPod(name: string, label: Label): void {
    const pod = this.#withObject(name);
    pod.label = label;
    this.#changed(pod);
  }

  /** Throws for a pod without an object, as for one that does not exist. */
  setPodWaiting(name: string, waiting: Waiting): void {
    const pod = this.#withObject(name);
    pod.waiting = waiting;
    this.#changed(pod);
  }

  labelNamespace(name: string, label: Label): void {
    const namespace = this.#namespace(name);
    if (namespace.label === label) return;
    namespace.label = label;
    namespace.isSettled = false;
    for (const pod of this.#podsIn(name)) {
      if (pod.birth.start === 'static' || pod.label !== 'no') continue;
      this.#changed(pod);
      if (pod.hasObject) continue;
      // Whoever remembers the labels of a pod without an object may follow its namespace, or not.
      pod.membershipAtLast = undefined;
      pod.taken = EITHER;
    }
  }

  setNamespaceWaiting(name: string, waiting: Waiting): void {
    this.#namespace(name).waiting = waiting;
    for (const pod of this.#podsIn(name)) this.#changed(pod);
  }

  /** Kubernetes says that there is no such pod, or none on this node. */
  objectGone(name: string): void {
    const pod = this.#pod(name);
    if (!pod.hasObject) return;
    const isSure = pod.isKnown && pod.taken.size === 1;
    pod.membershipAtLast = isSure ? this.membershipOf(name) : undefined;
    if (!isSure && !this.#isOutForSure(pod)) pod.taken = EITHER;
    pod.hasObject = false;
  }

  objectBack(name: string): void {
    const pod = this.#pod(name);
    if (pod.hasObject) return;
    pod.hasObject = true;
    this.#changed(pod);
  }

  /** Anything that takes time and changes nothing of what is wanted. */
  disturbed(name: string): void {
    this.#pod(name).isSettled = false;
  }

  /** It gets a new sandbox. */
  renewed(name: string): void {
    const pod = this.#pod(name);
    pod.isSettled = false;
    pod.isNew = true;
  }

  agentIsUp(isUp: boolean): void {
    this.#agentIsUp = isUp;
    this.#mayNotKnow();
  }

  apiIsThere(isThere: boolean): void {
    this.#apiIsThere = isThere;
    this.#mayNotKnow();
  }

  ztunnelIsDown(): void {
    this.#ztunnelServes = false;
  }

  /** Everything has had all the time that it needs. `isIn` says which wanted pods found room. */
  settled(isIn: (name: string) => boolean = () => true): void {
    this.#ztunnelServes = true;
    for (const namespace of this.#namespaces.values()) namespace.isSettled = true;
    for (const [name, pod] of this.#pods) {
      const membership = this.membershipOf(name);
      if (membership === undefined) continue;
      pod.taken = new Set([membership]);
      pod.waitings = new Set([this.#waitingOf(pod)]);
      pod.isSettled = membership === 'out' || isIn(name);
      pod.isNew = false;
      if (pod.hasObject) pod.isKnown = true;
    }
  }

  permits(name: string): Permits {
    const pod = this.#pod(name);
    if (pod.isNew && !this.#settings.judgesBirths) return EVERYBODY;
    const out = new Set<Party>();
    if (pod.taken.has('out')) out.add('direct');
    if (pod.taken.has('in')) {
      out.add('mesh');
      const isWaiting = !pod.isSettled || !this.#ztunnelServes || !this.#settings.hasRoom;
      if (isWaiting && pod.waitings.has('open')) out.add('direct');
      if (isWaiting) out.add('nobody');
    }
    // One that is not wanted is refused only as long as nobody can know that: its namespace is in the mesh, or may be.
    const namespace = this.#namespace(pod.birth.namespace);
    if (!pod.isSettled && (namespace.label === 'ambient' || !namespace.isSettled || pod.taken.size > 1))
      out.add('nobody');
    // Its servers start after it, and again in a new sandbox.
    const into = new Set(out);
    if (!pod.isSettled) into.add('nobody');
    return { out, in: into };
  }

  #knowAtBirth(pod: PodState): void {
    const { start, hasPauses, namespace: namespaceName, label } = pod.birth;
    const namespace = this.#namespace(namespaceName);
    const objectIsLate = start === 'object-late' || start === 'no-logs-object-late';
    const hasLogs = start !== 'no-logs' && start !== 'no-logs-object-late';
    const objectIsKnown = this.#agentIsUp && this.#apiIsThere && !objectIsLate && hasPauses;
    const namespaceIsKnown = namespace.isSettled && (objectIsKnown || hasLogs);
    const wanted: ReadonlySet<Membership> = new Set<Membership>([this.isWanted(pod.birth.name) ? 'in' : 'out']);
    if (this.#isOutForSure(pod)) pod.taken = new Set<Membership>(['out']);
    else if (namespace.label === 'ambient') pod.taken = namespaceIsKnown ? wanted : EITHER;
    else pod.taken = label === 'ambient' || !namespace.isSettled ? EITHER : wanted;
  }

  #isOutForSure({ birth, label }: PodState): boolean {
    return birth.start === 'static' || label === 'none';
  }

  /** Those that are starting can have begun before anybody knew of them. */
  #mayNotKnow(): void {
    for (const pod of this.#pods.values()) {
      if (!pod.isStarting) continue;
      const before = pod.taken;
      this.#knowAtBirth(pod);
      pod.taken = union(before, pod.taken);
    }
  }

  #changed(pod: PodState): void {
    const membership = this.membershipOf(pod.birth.name);
    if (membership !== undefined) pod.taken = union(pod.taken, new Set([membership]));
    pod.waitings = union(pod.waitings, new Set([this.#waitingOf(pod)]));
    pod.isSettled = false;
  }

  #waitingOf(pod: PodState): Waiting {
    const understood = [pod.waiting, this.#namespace(pod.birth.namespace).waiting].find(
      (waiting) => waiting !== 'no' && waiting !== 'maybe',
    );
    return understood ?? DEFAULT_WAITING;
  }

  *#podsIn(namespace: string): Iterable<PodState> {
    for (const pod of this.#pods.values()) if (pod.birth.namespace === namespace) yield pod;
  }

  #namespace(name: string): NamespaceState {
    const namespace = this.#namespaces.get(name);
    if (namespace === undefined) throw new Error(`the model has no namespace ${name}`);
    return namespace;
  }

  #withObject(name: string): PodState {
    const pod = this.#pod(name);
    if (!pod.hasObject) throw new Error(`pod ${name} of the model has no object to be changed`);
    return pod;
  }

  #pod(name: string): PodState {
    const pod = this.#pods.get(name);
    if (pod === undefined) throw new Error(`the model has no pod ${name}`);
    return pod;
  }
}

function union<T>(a: ReadonlySet<T>, b: ReadonlySet<T>): ReadonlySet<T> {
  return new Set([...a, ...b]);
}
