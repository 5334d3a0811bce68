// The real node of a soak: takes the steps, tells the model, and observes every connection of every pod.
import { setTimeout as sleep } from 'node:timers/promises';
import {
  Attempts,
  dialsAtOnce,
  endpoint,
  KUBELET_ORDER,
  KUBELET_PAUSES,
  wayOf,
  type Agent,
  type HostProcess,
  type Pod,
  type PodSpec,
  type PodStart,
  type StandInZtunnel,
} from '@sluice/testbed';
import { createMeshedNode, type MeshedNode } from '../meshed-node.js';
import { partyOf, Timeline, verdict } from './judge.js';
import { liesOf } from './lies.js';
import { stop, type LivePod } from './live-pod.js';
import type { Model } from './model.js';
import { orderOf } from './starts.js';
import { NAMESPACES, type Lie, type Step, type Waiting } from './steps.js';
import { Violation, within } from './violation.js';

const LABEL = 'istio.io/dataplane-mode';
const WAITING = 'sluice/waiting';
const PORT = 8080;
const OUTSIDE_PORT = 80;
/** Between two dials of a loop, in ms. */
const PAUSE_MS = 30;
/** Of one probe, in ms: as a readiness probe's by default. */
const PROBE_TIMEOUT_MS = 1000;
/** Of a pod, with a kubelet's pauses and on a busy machine, in ms: one that lasts longer waits for something that is not there. */
const LONGEST_START_MS = 10_000;
/** Of one dial, in ms: a pod's address may be gone. */
const TIMEOUT_MS = 3000;

export type Counts = Record<'mesh' | 'direct' | 'nobody' | 'failed', number>;

export class World implements AsyncDisposable {
  readonly model: Model;
  readonly place: MeshedNode;
  readonly pods = new Map<string, LivePod>();
  /** Dials by who accepted them. */
  readonly counts: Counts = { mesh: 0, direct: 0, nobody: 0, failed: 0 };
  /** Objects without a pod. */
  readonly #paper: Pod[] = [];
  readonly #labels = new Map<string, Record<string, string>>();
  readonly #annotations = new Map<string, Record<string, string>>();
  readonly #kubelet: HostProcess;
  agent: Agent;
  ztunnel: StandInZtunnel;
  agentIsUp = true;
  apiIsThere = true;
  #failure: Violation | undefined;
  #ztunnels = 0;
  #extras = 0;

  private constructor(place: MeshedNode, kubelet: HostProcess, model: Model) {
    this.place = place;
    this.#kubelet = kubelet;
    this.model = model;
    this.agent = place.agent;
    this.ztunnel = place.ztunnel;
  }

  static async create(model: Model, settings: Readonly<Record<string, unknown>>): Promise<World> {
    const place = await createMeshedNode({ lock: 'wait', resyncInterval: '5s', ...settings });
    const world = new World(place, await place.node.kubelet(), model);
    for (const name of NAMESPACES) world.#writeNamespace(name);
    for (const name of NAMESPACES) await world.#createWitness(name);
    return world;
  }

  get #node() {
    return this.place.node;
  }

  get #kubernetes() {
    return this.place.node.kubernetes;
  }

  /** Takes a step; returns false if it makes no sense now. */
  async take(step: Exclude<Step, { do: 'settle' }>): Promise<boolean> {
    const isTaken = await this.#take(step);
    this.judge();
    if (isTaken) await this.probe();
    return isTaken;
  }

  /**
   * The kubelet dials every pod that is up. Whatever state a pod is in, ztunnel never accepts a probe, and once the pod has settled
   * none is refused.
   * @throws Violation
   */
  async probe(): Promise<void> {
    for (const { name, pod, isUp } of this.pods.values()) {
      if (!isUp) continue;
      for (const ip of pod.ips) {
        const isSettled = this.model.pods.get(name)?.isSettled === true;
        const result = await this.#kubelet.dial(endpoint(ip, PORT), { timeout: PROBE_TIMEOUT_MS });
        const way = wayOf(result);
        if (way === 'mesh' || (isSettled && way === 'refused'))
          throw new Violation(
            `pod ${name}: the kubelet's probe of ${result.to} ${way === 'mesh' ? 'was accepted by ztunnel' : 'was refused'}`,
          );
      }
    }
  }

  /** @throws Violation for what has happened until now and must not */
  judge(): void {
    for (const live of this.pods.values()) this.#judgePod(live);
    if (this.#failure !== undefined) throw this.#failure;
    if (this.agentIsUp && !this.agent.process.running)
      throw new Violation(
        `the agent has ended by itself: ${this.agent.process.stderr || this.agent.process.history.at(-1)}`,
      );
    const [error] = this.ztunnel.protocolErrors;
    if (error !== undefined) throw new Violation(`ztunnel could not understand the agent: ${error}`);
  }

  /** Brings back what is away, and waits for what is being started. */
  async bringBack(): Promise<void> {
    if (!this.apiIsThere) await this.#take({ do: 'api-back' });
    if (!this.agentIsUp) await this.#take({ do: 'agent-start' });
    if (!this.ztunnel.process.running) await this.ztunnel.start();
    await Promise.all([...this.pods.values()].map(({ starting }) => starting));
    await this.#kubernetes.settled();
    this.judge();
  }

  /** After the model has changed. */
  note(): void {
    for (const { name, timeline } of this.pods.values()) timeline.note(this.model.permits(name));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // What is being started would make the cgroups anew that are removed.
    const starting = Promise.allSettled([...this.pods.values()].map((live) => live.starting));
    const isOver = new AbortController();
    await Promise.race([starting, sleep(LONGEST_START_MS, undefined, isOver).catch(() => {})]);
    isOver.abort();
    await this.place[Symbol.asyncDispose]();
    await starting;
  }

  #judgePod({ pod, name, loops, timeline }: LivePod): void {
    for (const loop of loops) {
      const { all } = loop.attempts;
      for (; loop.judged < all.length; loop.judged++) {
        const attempt = all[loop.judged];
        if (attempt === undefined) continue;
        this.counts[partyOf(attempt) ?? 'failed'] += 1;
        const lastBy = loop.direction === 'out' ? 'remote' : `${pod.namespace}/${pod.name}`;
        const wrong = verdict(attempt, loop.direction, { uid: pod.uid, lastBy }, timeline);
        if (wrong === undefined) continue;
        this.#failure ??= new Violation(
          `pod ${name} (${pod.uid}), ${loop.name}: dial ${loop.judged + 1} to ${attempt.to} ${wrong}\n` +
            `  attempt: ${JSON.stringify(attempt)}\n  permitted: ${timeline.text}`,
        );
      }
    }
  }

  async #take(step: Exclude<Step, { do: 'settle' }>): Promise<boolean> {
    const { model } = this;
    const live = 'pod' in step ? this.pods.get(step.pod) : undefined;
    const isUp = live?.isUp === true;
    switch (step.do) {
      case 'create':
        if (live !== undefined) return false;
        await this.#create(step);
        return true;
      case 'delete': {
        if (live === undefined) return false;
        await live.starting;
        this.#tell(() => model.disturbed(step.pod));
        await live.pod.delete();
        this.#judgePod(live);
        this.pods.delete(step.pod);
        for (const loop of live.loops) if (loop.direction === 'in') await stop(loop);
        model.remove(step.pod);
        return true;
      }
      case 'object-delete':
        if (!isUp) return false;
        await live.starting;
        this.#tell(() => model.objectGone(step.pod));
        await live.pod.removeObject();
        return true;
      case 'object-claim':
        return this.#claim(live);
      case 'finish':
        if (!isUp || model.pods.get(step.pod)?.hasObject !== true) return false;
        await live.starting;
        this.#tell(() => model.disturbed(step.pod));
        await this.#loopInside(live, 'left behind');
        await live.pod.finish(this.#extras % 2 === 0 ? 'Succeeded' : 'Failed');
        return true;
      case 'container':
        if (!isUp) return false;
        await this.#loopInContainer(live);
        return true;
      case 'address-add':
        return isUp && this.#addAddress(live);
      case 'address-remove': {
        const [ip] = live?.further ?? [];
        if (!isUp || ip === undefined) return false;
        live.further.shift();
        await live.pod.removeAddress(ip);
        return true;
      }
      case 'sandbox':
        if (!isUp) return false;
        await live.starting;
        await this.#remakeSandbox(live, step.isReported);
        return true;
      case 'pod-label':
      case 'pod-waiting':
        if (live === undefined || model.pods.get(step.pod)?.hasObject !== true) return false;
        if (!live.pod.isPublished) await live.starting;
        this.#tell(() =>
          step.do === 'pod-label' ? model.labelPod(step.pod, step.label) : model.setPodWaiting(step.pod, step.waiting),
        );
        this.#update(live);
        await this.#kubernetes.settled();
        return true;
      case 'namespace-label':
        this.#tell(() => model.labelNamespace(step.namespace, step.label));
        this.#labels.set(step.namespace, step.label === 'no' ? {} : { [LABEL]: step.label });
        return this.#writeNamespace(step.namespace);
      case 'namespace-waiting':
        this.#tell(() => model.setNamespaceWaiting(step.namespace, step.waiting));
        this.#annotations.set(step.namespace, waitingAnnotation(step.waiting));
        return this.#writeNamespace(step.namespace);
      case 'lie':
        return isUp && this.#lie(live, step.lie, this.pods.get(step.other));
      case 'agent-kill':
      case 'agent-stop':
        if (!this.agentIsUp) return false;
        this.agentIsUp = false;
        this.#tell(() => model.agentIsUp(false));
        await (step.do === 'agent-kill' ? this.agent.kill9() : this.agent.stop());
        return true;
      case 'agent-start':
        // It is not ready before it has heard of all pods.
        if (this.agentIsUp || !this.apiIsThere) return false;
        this.agent = this.place.nextAgent();
        await within('the agent has taken over', this.agent.start());
        this.agentIsUp = true;
        this.#tell(() => model.agentIsUp(true));
        return true;
      case 'agent-overlap':
        if (!this.agentIsUp || !this.apiIsThere) return false;
        await this.#overlap(step.end);
        return true;
      case 'ztunnel-kill':
        if (!this.ztunnel.process.running) return false;
        this.#tell(() => model.ztunnelIsDown());
        await this.ztunnel.kill9();
        return true;
      case 'ztunnel-start':
        if (this.ztunnel.process.running) return false;
        await this.ztunnel.start();
        return true;
      case 'ztunnel-roll':
        // The agent talks only to a ztunnel whose pod it has heard of.
        return this.agentIsUp && this.apiIsThere && this.ztunnel.process.running && this.#rollZtunnel();
      case 'api-away':
        if (!this.apiIsThere) return false;
        this.apiIsThere = false;
        this.#tell(() => model.apiIsThere(false));
        await this.#kubernetes.away();
        return true;
      case 'api-back':
        if (this.apiIsThere) return false;
        await this.#kubernetes.back();
        this.apiIsThere = true;
        this.#tell(() => model.apiIsThere(true));
        return true;
      case 'pause':
        await sleep(step.ms);
        return true;
    }
  }

  /** The model changes before the node does: what becomes permitted may happen at once. */
  #tell(change: () => void): void {
    change();
    this.note();
  }

  async #create(step: Extract<Step, { do: 'create' }>): Promise<void> {
    const { pod: name, start, hasPauses } = step;
    const targets = [this.#node.remote.ip4, this.#node.remote.ip6].map((ip) => endpoint(ip, OUTSIDE_PORT));
    const spec: PodSpec = {
      name,
      namespace: step.namespace,
      labels: step.label === 'no' ? {} : { [LABEL]: step.label },
      annotations: waitingAnnotation(step.waiting),
      app: dialsAtOnce(start === 'ipv6-only' ? targets.slice(1) : targets, {
        pauseMs: PAUSE_MS,
        timeoutMs: TIMEOUT_MS,
      }),
      serve: [PORT],
      ...(start === 'static' ? { isStatic: true } : {}),
      ...(start === 'ipv6-only' ? { families: [6] } : {}),
      ...(start === 'admin' ? { securityContext: { capabilities: { add: ['NET_ADMIN'] } } } : {}),
    };
    const pod = this.#node.plan(spec);
    const live: LivePod = {
      name,
      pod,
      timeline: new Timeline(),
      loops: [],
      further: [],
      starting: Promise.resolve(),
      isUp: false,
    };
    this.model.create({ ...step, name });
    this.pods.set(name, live);
    this.note();
    live.starting = this.#start(live, orderOf(start, hasPauses));
    live.starting.catch(() => {}); // whoever waits for it sees it
    if (step.isAwaited) await live.starting;
  }

  /** A pod of a namespace that nothing happens to: its state says that the agent has heard of the namespace's label. */
  async #createWitness(namespace: string): Promise<void> {
    const name = `witness-${namespace}`;
    this.model.create({ name, namespace, label: 'no', waiting: 'no', start: 'ordinary', hasPauses: false });
    const pod = await this.#node.pod({ name, namespace, serve: [PORT] });
    this.model.started(name);
    const starting = Promise.resolve();
    this.pods.set(name, { name, pod, timeline: new Timeline(), loops: [], further: [], starting, isUp: true });
    this.note();
  }

  async #start(live: LivePod, start: PodStart): Promise<void> {
    const { pod, name } = live;
    const upToApp = start.slice(0, start.indexOf('app') + 1);
    await pod.start(upToApp);
    live.loops.push({ name: 'first instruction', direction: 'out', attempts: Attempts.of(pod.app), judged: 0 });
    await this.#loopFromOutside(live);
    live.isUp = true;
    this.model.started(name);
    await pod.start(start.slice(upToApp.length));
  }

  async #remakeSandbox(live: LivePod, isReported: boolean): Promise<void> {
    const { pod, name } = live;
    this.#tell(() => this.model.renewed(name));
    this.#judgePod(live);
    live.isUp = false;
    live.further.length = 0;
    await Promise.all(live.loops.filter(({ direction }) => direction === 'in').map(stop));
    const order = this.model.pods.get(name)?.birth.hasPauses === true ? KUBELET_PAUSES : KUBELET_ORDER;
    await pod.remakeSandbox({ start: order.slice(order.indexOf('netns'), order.indexOf('app') + 1) });
    this.#judgePod(live);
    live.loops.length = 0;
    live.loops.push({
      name: 'first instruction of a new sandbox',
      direction: 'out',
      attempts: Attempts.of(pod.app),
      judged: 0,
    });
    await this.#loopFromOutside(live);
    live.isUp = true;
    if (isReported && this.model.pods.get(name)?.hasObject === true) {
      pod.publish();
      await this.#kubernetes.settled();
    }
  }

  async #loopFromOutside(live: LivePod): Promise<void> {
    const targets = live.pod.ips.map((ip) => endpoint(ip, PORT));
    const options = { pauseMs: PAUSE_MS, timeoutMs: TIMEOUT_MS };
    const process = await this.#node.remote.exec(dialsAtOnce(targets, options));
    live.loops.push({ name: 'from outside', direction: 'in', attempts: new Attempts(process), judged: 0 });
  }

  async #loopInside(live: LivePod, name: string): Promise<void> {
    const target = endpoint(this.#node.remote.ip6, OUTSIDE_PORT);
    const args = dialsAtOnce([target], { pauseMs: PAUSE_MS, timeoutMs: TIMEOUT_MS });
    live.loops.push({ name, direction: 'out', attempts: new Attempts(await live.pod.app.exec(args)), judged: 0 });
  }

  async #loopInContainer(live: LivePod): Promise<void> {
    const target = endpoint(this.#node.remote.ip6, OUTSIDE_PORT);
    const args = dialsAtOnce([target], { pauseMs: PAUSE_MS, timeoutMs: TIMEOUT_MS });
    const container = await live.pod.startContainer(`extra-${(this.#extras += 1)}`, args);
    live.loops.push({
      name: `container ${container.name}`,
      direction: 'out',
      attempts: Attempts.of(container),
      judged: 0,
    });
  }

  async #addAddress(live: LivePod): Promise<boolean> {
    const n = (this.#extras += 1);
    const ip = `fd66::a:${n.toString(16)}`;
    await live.pod.addAddress(ip);
    live.further.push(ip);
    return true;
  }

  /** Somebody makes an object that says that it is a pod with the same address. */
  async #claim(live: LivePod | undefined): Promise<boolean> {
    if (live === undefined) return false;
    const paper = this.#node.plan({ name: `claims-${(this.#extras += 1)}`, namespace: live.pod.namespace });
    const { ips } = live.pod;
    paper.misreport({
      'status.phase': 'Running',
      'status.podIP': ips[0],
      'status.podIPs': ips.map((ip) => ({ ip })),
      'metadata.creationTimestamp': new Date().toISOString(),
    });
    this.#paper.push(paper);
    await paper.start(['object']);
    return true;
  }

  async #lie(live: LivePod, lie: Lie, other: LivePod | undefined): Promise<boolean> {
    if (lie === 'swapped' && (other === undefined || other === live)) return false;
    if (this.model.pods.get(live.name)?.hasObject !== true && lie !== 'truth') return false;
    await live.starting;
    if (lie === 'node-absent') this.#tell(() => this.model.objectGone(live.name));
    live.pod.misreport(liesOf(lie, live.pod, other?.pod));
    if (lie === 'swapped' && other !== undefined && this.model.pods.get(other.name)?.hasObject === true)
      other.pod.misreport(liesOf('swapped', other.pod, live.pod));
    if (lie === 'truth') {
      live.pod.publish();
      this.#tell(() => this.model.objectBack(live.name));
    }
    await this.#kubernetes.settled();
    return true;
  }

  #update({ pod, name }: LivePod): void {
    const state = this.model.pods.get(name);
    if (state === undefined) return;
    pod.update({
      labels: state.label === 'no' ? {} : { [LABEL]: state.label },
      annotations: waitingAnnotation(state.waiting),
    });
  }

  #writeNamespace(name: string): true {
    this.#kubernetes.write({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: {
        name,
        labels: { 'kubernetes.io/metadata.name': name, ...this.#labels.get(name) },
        annotations: this.#annotations.get(name) ?? {},
      },
    });
    return true;
  }

  async #overlap(end: 'kill' | 'stop'): Promise<void> {
    const next = this.place.nextAgent(/"msg":"standing by/);
    await within('the next agent stands by', next.start());
    const old = this.agent;
    this.agent = next;
    this.#tell(() => this.model.agentIsUp(false));
    await (end === 'kill' ? old.kill9() : old.stop());
    await within(
      'the next agent has taken over',
      next.process.until((line) => line.includes('"msg":"ready"')),
    );
    this.#tell(() => this.model.agentIsUp(true));
  }

  async #rollZtunnel(): Promise<boolean> {
    const old = this.ztunnel;
    const name = `ztunnel-${(this.#ztunnels += 1)}`;
    const next = await this.#node.ztunnel({ mode: 'inPod', zdsSocket: this.place.zdsSocket, name, drainMs: 1000 });
    await within('the next ztunnel is ready', next.event('ready'));
    this.ztunnel = next;
    await old.stop();
    await old.pod.delete();
    return true;
  }
}

function waitingAnnotation(waiting: Waiting): Record<string, string> {
  return waiting === 'no' ? {} : { [WAITING]: waiting };
}
