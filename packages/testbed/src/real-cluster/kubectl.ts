// kubectl as an administrator: what a person would type, with objects for answers.
import type { KubernetesObject } from '../kubernetes-objects.js';
import { runToEnd } from '../line-process.js';
import { clusterProgram } from './programs.js';

/** An object of the API server's. */
export interface LiveObject extends KubernetesObject {
  readonly metadata: KubernetesObject['metadata'] & {
    readonly uid: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly deletionTimestamp?: string;
  };
}

export class Kubectl {
  readonly #kubeconfig: string;

  constructor(kubeconfig: string) {
    this.#kubeconfig = kubeconfig;
  }

  /** The whole command line. */
  command(args: readonly string[]): string[] {
    return [clusterProgram('kubectl'), `--kubeconfig=${this.#kubeconfig}`, ...args];
  }

  /** Runs it to its end and returns its lines; rejects with what it said. */
  run(args: readonly string[], input: readonly string[] = []): Promise<string[]> {
    return runToEnd(this.command(args), input);
  }

  async apply(...objects: readonly unknown[]): Promise<void> {
    const list = { apiVersion: 'v1', kind: 'List', items: objects };
    await this.run(['apply', '-f', '-'], [JSON.stringify(list)]);
  }

  async get<T extends LiveObject = LiveObject>(kind: string, name: string, namespace?: string): Promise<T> {
    const place = namespace === undefined ? [] : ['-n', namespace];
    return JSON.parse((await this.run(['get', kind, name, ...place, '-o', 'json'])).join('\n')) as T;
  }

  /** @param args a namespace and selectors, as kubectl has them; default all namespaces */
  async list<T extends LiveObject = LiveObject>(kind: string, args: readonly string[] = ['-A']): Promise<T[]> {
    const answer = (await this.run(['get', kind, ...args, '-o', 'json'])).join('\n');
    return (JSON.parse(answer) as { items: T[] }).items;
  }

  /** Runs a program in a pod's first container, or the one named, and returns its lines. */
  exec(namespace: string, pod: string, argv: readonly string[], container?: string): Promise<string[]> {
    const which = container === undefined ? [] : ['-c', container];
    return this.run(['exec', '-n', namespace, pod, ...which, '--', ...argv]);
  }

  logs(namespace: string, pod: string, args: readonly string[] = []): Promise<string[]> {
    return this.run(['logs', '-n', namespace, pod, ...args]);
  }
}
