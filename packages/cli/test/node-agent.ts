// A testbed node with the built command on it, which the kernel tests of the command share.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import {
  readNodeStatus,
  verifyNode,
  type Explanation,
  type NodeStatus,
  type VerifiedStatus,
} from '@sluice/ambient-agent';
import {
  TestNode,
  toYaml,
  until,
  type Agent,
  type ClusterState,
  type KubernetesCluster,
  type KubernetesDirectory,
} from '@sluice/testbed';
import * as Effect from 'effect/Effect';
import { runProgram, SLUICE, type CommandResult } from './program.js';

/** The environment of a pod of the DaemonSet. */
export const OWN_DAEMON_SET = { DAEMONSET_NAME: 'sluice-node', POD_NAMESPACE: 'istio-system' };

export class NodeAgent<Cluster extends ClusterState = KubernetesDirectory> implements AsyncDisposable {
  readonly node: TestNode<Cluster>;
  readonly agent: Agent;
  readonly bpffs: string;
  readonly configPath: string;
  readonly #settings: Record<string, unknown>;

  private constructor(node: TestNode<Cluster>, bpffs: string, settings: Record<string, unknown>) {
    this.node = node;
    this.bpffs = bpffs;
    this.configPath = join(node.directory, 'config.yaml');
    this.#settings = settings;
    this.configure({});
    this.agent = node.agent({
      command: [process.execPath, SLUICE, 'run', '--config', this.configPath],
      ready: /"msg":"ready"/,
      env: { ...process.env, ...OWN_DAEMON_SET },
    });
  }

  /** The agent is not started yet. */
  static async create(settings: Record<string, unknown> = {}): Promise<NodeAgent> {
    const node = await TestNode.create();
    const inventory = { source: 'static', directory: node.kubernetes.path };
    return NodeAgent.#on(node, { inventory, ...settings });
  }

  /** In inPod mode, with the API double. The rights are those of the token, if there is one. */
  static async createOnApi(
    settings: Record<string, unknown> = {},
    token?: string,
  ): Promise<NodeAgent<KubernetesCluster>> {
    const node = await TestNode.create({ kubernetes: 'api' });
    const inventory = { source: 'kubernetes', kubeconfig: node.kubernetes.kubeconfig(token) };
    const { POD_NAMESPACE: namespace, DAEMONSET_NAME: name } = OWN_DAEMON_SET;
    node.kubernetes.ensureNamespace(namespace);
    node.kubernetes.write({ apiVersion: 'apps/v1', kind: 'DaemonSet', metadata: { namespace, name } });
    return NodeAgent.#on(node, { mode: 'inPod', inventory, ...settings });
  }

  static async #on<Cluster extends ClusterState>(
    node: TestNode<Cluster>,
    settings: Record<string, unknown>,
  ): Promise<NodeAgent<Cluster>> {
    try {
      return new NodeAgent(node, await node.bpffs(), settings);
    } catch (error) {
      await node.close();
      throw error;
    }
  }

  /** In inPod mode: ztunnel is told of pods at {@link zdsSocket}. */
  static createInPod(settings: Record<string, unknown> = {}): Promise<NodeAgent> {
    return NodeAgent.create({ mode: 'inPod', ...settings });
  }

  /** In `inPod` mode. */
  get zdsSocket(): string {
    return join(this.node.directory, 'ztunnel.sock');
  }

  get runDir(): string {
    return join(this.node.directory, 'run');
  }

  /** Writes the configuration; the agent reads it when it starts. */
  configure(more: Record<string, unknown>): void {
    const paths = {
      bpffs: this.bpffs,
      runDir: this.runDir,
      cgroupRoot: this.node.cgroup.path,
      hostNetns: this.node.netns.path,
    };
    writeFileSync(
      this.configPath,
      toYaml({
        mode: 'node',
        zds: { socket: this.zdsSocket },
        nodeName: this.node.name,
        guard: { podLogs: this.node.podLogs },
        paths,
        ...this.#settings,
        ...more,
      }),
    );
  }

  sluice(...args: string[]): Promise<CommandResult> {
    return runProgram([process.execPath, SLUICE, ...args, '--config', this.configPath]);
  }

  /** What `sluice status -o json` prints, without a process for each look. */
  status(): NodeStatus {
    return readNodeStatus(this.runDir);
  }

  /** What `sluice status --verify -o json` prints, in the same way. */
  verify(): Promise<VerifiedStatus> {
    return Effect.runPromise(verifyNode({ runDir: this.runDir, proc: '/proc' }));
  }

  /** The same, once the kernel has what the agent says. */
  agrees(): Promise<VerifiedStatus> {
    return eventually(
      () => this.verify(),
      ({ verification }) => verification.differences.length === 0,
    );
  }

  /** The status of a pod, if it has one. */
  workload(name: string): NodeStatus['state']['workloads'][number] | undefined {
    return this.status().state.workloads.find((workload) => workload.name === name);
  }

  /** The same, once the pod has this state. */
  becomes(name: string, state: string): Promise<NodeStatus['state']['workloads'][number] | undefined> {
    return eventually(
      () => this.workload(name),
      (workload) => workload?.state === state,
    );
  }

  /** What the running agent, or the last one, has logged. */
  get log(): readonly string[] {
    return this.agent.isStarted ? this.agent.process.history : [];
  }

  /** Waits for a line of the log that matches, and returns the first. */
  said(pattern: RegExp): Promise<string> {
    return eventually(
      () => this.log.find((line) => pattern.test(line)),
      (line) => line !== undefined,
    );
  }

  /** Asks the agent's HTTP server. */
  async get(path: string): Promise<{ status: number; body: string }> {
    const { port } = JSON.parse(await this.said(/"msg":"metrics are served"/)) as { port: number };
    const response = await fetch(`http://127.0.0.1:${port}${path}`);
    return { status: response.status, body: await response.text() };
  }

  async explain(...args: string[]): Promise<Explanation> {
    const { stdout, stderr } = await this.sluice('explain', '-o', 'json', ...args);
    if (stdout === '') throw new Error(stderr);
    return JSON.parse(stdout) as Explanation;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.node.close();
  }
}

/**
 * Asks again until the answer is right, and returns that answer. A test that does not use the answer can call `expect.poll`
 * instead.
 */
export function eventually<T, Right extends T>(
  ask: () => Promise<T> | T,
  isRight: (answer: T) => answer is Right,
): Promise<Right>;
export function eventually<T>(ask: () => Promise<T> | T, isRight: (answer: T) => boolean): Promise<T>;
export function eventually<T>(ask: () => Promise<T> | T, isRight: (answer: T) => boolean): Promise<T> {
  return until('the right answer', async () => {
    const answer = await ask();
    if (!isRight(answer)) throw new Error(inspect(answer, { depth: 6 }));
    return answer;
  });
}
