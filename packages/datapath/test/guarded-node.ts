// A node with the datapath and the guard on it and no agent: the tests do what the kubelet and the runtime do, step by step.
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openObject } from '@sluice/libbpf';
import { LineProcess, enterCommand, type Cgroup, type Pod } from '@sluice/testbed';
import { Guard, WorkloadFlag, type CgroupInfo, type Datapath, type GuardOptions } from '../src/index.js';
import { parts } from '../src/guard/parts.js';
import { GUARD_OBJECT_PATH } from '../src/layout.js';
import { MeshedNode, levelOf } from './meshed-node.js';

const PROGRAM = fileURLToPath(new URL('../build/test/pod-process', import.meta.url));

/** Whether this kernel lets programs answer for its functions. Some forbid it; the guard goes without that part there. */
export const canRefuseListen = ((): boolean => {
  const { program } = parts.refuse_listen;
  using object = openObject(GUARD_OBJECT_PATH, { autoload: (name) => name === program });
  try {
    object.load();
    using link = object.program(program).attachTracing();
    return link.info().id > 0;
  } catch {
    return false;
  }
})();

/** The namespace that is in the mesh. */
export const MESHED = 'shop';

/** test/pod-process.c at some place. Its methods return its lines: 'ok ...' or the name of an errno. */
export class PodProcess {
  readonly #process: LineProcess;

  private constructor(process: LineProcess) {
    this.#process = process;
  }

  static async start(place: { readonly cgroup: string; readonly netns: string }): Promise<PodProcess> {
    const process = await LineProcess.start(enterCommand(place, [PROGRAM]));
    await process.lineMatching(/^ready$/);
    return new PodProcess(process);
  }

  get pid(): number {
    return this.#process.pid;
  }

  run(...words: readonly (string | number)[]): Promise<string> {
    this.#process.writeLine(words.join(' '));
    return this.#process.nextLine();
  }

  dial(ip: string, port: number): Promise<string> {
    return this.run('dial', ip, port);
  }

  /** Makes a socket of the family of an address; the number that it answers with. */
  async socket(ip: string, ...protocol: readonly string[]): Promise<number> {
    return numberIn(await this.run('socket', ip, ...protocol));
  }

  /** Makes a socket with options, and binds it; the number that it answers with. */
  async bind(ip: string, port: number, options: readonly string[] = []): Promise<number> {
    const id = await this.socket(ip, ...options.filter((option) => option === 'mptcp'));
    for (const option of options) if (option !== 'mptcp') must(await this.run('set', id, option));
    must(await this.run('bind', id, ip, port));
    return id;
  }

  /** The same, and it listens. */
  async listen(ip: string, port: number, options: readonly string[] = []): Promise<number> {
    const number = await this.bind(ip, port, options);
    must(await this.run('listen', number));
    return number;
  }

  async portOf(id: number): Promise<number> {
    return numberIn(await this.run('port', id));
  }

  stop(): Promise<unknown> {
    return this.#process.stop();
  }
}

function numberIn(line: string): number {
  const [, number] = /^ok (\d+)$/.exec(line) ?? [];
  if (number === undefined) throw new Error(line);
  return Number(number);
}

function must(line: string): void {
  if (line !== 'ok') throw new Error(line);
}

export type Order = 'directory first' | 'cgroup first';

export interface NewPod {
  readonly namespace?: string;
  readonly style?: 'cgroupfs' | 'systemd';
  readonly qos?: 'guaranteed' | 'besteffort';
  readonly order?: Order;
  readonly by?: 'mkdirat' | 'mkdir';
  /** Of one that has begun. */
  readonly uid?: string;
  /** Without it there is no process. */
  readonly netns?: string;
}

/** A pod as far as the kubelet and the runtime have come with it. */
export interface GuardedPod {
  readonly uid: string;
  readonly cgroup: Cgroup;
  readonly id: bigint;
  readonly container: Cgroup;
  readonly process: PodProcess;
}

export class GuardedNode implements AsyncDisposable {
  readonly mesh: MeshedNode;
  readonly podLogs: string;
  readonly parents: readonly Cgroup[];
  /** In the host's network, outside of all pods. */
  readonly kubelet: PodProcess;
  guard: Guard;
  /** What has been decided, by pod-level cgroup. */
  readonly #decided = new Map<bigint, CgroupInfo>();

  private constructor(mesh: MeshedNode, kubelet: PodProcess, parents: readonly Cgroup[]) {
    this.mesh = mesh;
    this.kubelet = kubelet;
    this.parents = parents;
    this.podLogs = join(mesh.node.directory, 'pods');
    mkdirSync(this.podLogs);
    this.guard = this.openGuard({ meshedNamespaces: [MESHED], podsParents: parents.map(({ id }) => id) });
  }

  static async create(): Promise<GuardedNode> {
    const mesh = await MeshedNode.create();
    try {
      const { node } = mesh;
      const parents = ['kubepods', 'kubepods.slice'].map((name) => node.cgroup.child(name));
      const place = { cgroup: node.cgroup.child('kubelet').path, netns: node.netns.path };
      return new GuardedNode(mesh, await PodProcess.start(place), parents);
    } catch (error) {
      await mesh.close();
      throw error;
    }
  }

  openGuard(options: Partial<GuardOptions> = {}): Guard {
    const guard = this.openBeside(options);
    guard.endFormer();
    return guard;
  }

  /** Leaves the former one in force. */
  openBeside(options: Partial<GuardOptions> = {}): Guard {
    const { pinDirectory, node } = this.mesh;
    return Guard.open({ pinDirectory, cgroup: node.cgroup.path, podLogs: this.podLogs, ...options });
  }

  /** Makes the first of a pod's log directory and its cgroup; {@link pod}, given the UID that this returns, makes the other. */
  async begin(spec: NewPod = {}): Promise<string> {
    const uid = randomUUID();
    if (spec.order === 'directory first') await this.makeLogs(uid, spec);
    else this.#podCgroup(uid, spec);
    return uid;
  }

  /** What stays of an agent that has ended. */
  leave(): void {
    this.guard.close();
    this.mesh.datapath.close();
  }

  /** Does what the kubelet does for a pod, and, given a namespace of the network, what the runtime does. */
  async pod(spec: NewPod & { readonly netns: string }): Promise<GuardedPod>;
  async pod(spec: NewPod): Promise<Omit<GuardedPod, 'process'>>;
  async pod(spec: NewPod): Promise<Omit<GuardedPod, 'process'> & { process?: PodProcess }> {
    const { uid = await this.begin(spec), order = 'cgroup first', netns } = spec;
    if (order === 'cgroup first') await this.makeLogs(uid, spec);
    const cgroup = this.#podCgroup(uid, spec);
    const container = cgroup.child(randomBytes(32).toString('hex'));
    const pod = { uid, cgroup, id: cgroup.id, container };
    return netns === undefined ? pod : { ...pod, process: await PodProcess.start({ cgroup: container.path, netns }) };
  }

  logsOf(uid: string, namespace = MESHED): string {
    return join(this.podLogs, `${namespace}_cart-0_${uid}`);
  }

  async makeLogs(uid: string, { namespace = MESHED, by = 'mkdirat' }: NewPod = {}): Promise<void> {
    must(await this.kubelet.run(by, this.logsOf(uid, namespace)));
  }

  /** Writes that the agent has decided about a pod: it is not in the mesh. */
  decide(pod: { readonly id: bigint; readonly cgroup: Cgroup }, datapath: Datapath = this.mesh.datapath): void {
    this.#decided.set(pod.id, { id: pod.id, inMesh: false, ip: undefined, flags: 0, detectedFlags: 1 });
    const { desired } = this.mesh;
    const level = levelOf(pod.cgroup.path);
    const { failures } = datapath.apply({
      ...desired,
      cgroups: new Map([...desired.cgroups, ...this.#decided]),
      settings: { ...desired.settings, cgroupLevels: [level - 1, level] },
    });
    if (failures[0] !== undefined) throw failures[0].error;
    this.guard.setReachable([...this.#decided.keys()].map((id) => [id, 0n] as const));
  }

  /** Writes that a pod is wanted in the mesh, and that what comes in to it is not captured yet. */
  want(pod: { readonly id: bigint; readonly cgroup: Cgroup }, netnsCookie?: bigint): void {
    const flags = WorkloadFlag.AMBIENT | WorkloadFlag.IN_POD | WorkloadFlag.PENDING;
    const info = { id: pod.id, inMesh: true, ip: undefined, flags, detectedFlags: 1 };
    const { desired } = this.mesh;
    const level = levelOf(pod.cgroup.path);
    const { failures } = this.mesh.datapath.apply({
      ...desired,
      cgroups: new Map([...desired.cgroups, ...this.#decided, [pod.id, info]]),
      netns: new Map([...desired.netns, ...(netnsCookie === undefined ? [] : [[netnsCookie, info] as const])]),
      settings: { ...desired.settings, cgroupLevels: [level - 1, level] },
    });
    if (failures[0] !== undefined) throw failures[0].error;
  }

  async close(): Promise<void> {
    this.guard.close();
    await this.mesh.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #podCgroup(uid: string, { style = 'cgroupfs', qos = 'besteffort' }: NewPod): Cgroup {
    const names = qos === 'guaranteed' ? [] : [qos];
    if (style === 'cgroupfs') return this.mesh.node.cgroup.child(['kubepods', ...names, `pod${uid}`].join('/'));
    const parts = ['kubepods', ...names, `pod${uid.replaceAll('-', '_')}`];
    return this.mesh.node.cgroup.child(parts.map((_, i) => `${parts.slice(0, i + 1).join('-')}.slice`).join('/'));
  }
}

/** A process of the node outside of all pods, in a pod's network namespace: a client. */
export async function clientIn(node: GuardedNode, pod: Pod): Promise<PodProcess> {
  return PodProcess.start({ cgroup: node.mesh.node.cgroup.child('system').path, netns: pod.netns });
}
