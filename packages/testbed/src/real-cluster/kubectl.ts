// kubectl as an administrator: what a person would type, with objects as answers.
import * as Schema from 'effect/Schema';
import { parseLine } from '../json-line.js';
import { runToEnd } from '../line-process.js';
import { clusterProgram } from './programs.js';

const texts = Schema.Record(Schema.String, Schema.String);

/** An object as the API server has it, reduced to what tests read in every kind. */
export const LiveObject = Schema.Struct({
  kind: Schema.String,
  metadata: Schema.Struct({
    name: Schema.String,
    namespace: Schema.optionalKey(Schema.String),
    uid: Schema.String,
    labels: Schema.optionalKey(texts),
    annotations: Schema.optionalKey(texts),
    deletionTimestamp: Schema.optionalKey(Schema.String),
  }),
});

export class Kubectl {
  readonly #kubeconfig: string;

  constructor(kubeconfig: string) {
    this.#kubeconfig = kubeconfig;
  }

  /** The whole command line. */
  command(args: readonly string[]): string[] {
    return [clusterProgram('kubectl'), `--kubeconfig=${this.#kubeconfig}`, ...args];
  }

  /** Runs it until it ends and returns its lines; rejects with its error message. */
  run(args: readonly string[], input: readonly string[] = []): Promise<string[]> {
    return runToEnd(this.command(args), input);
  }

  async apply(...objects: readonly unknown[]): Promise<void> {
    const list = { apiVersion: 'v1', kind: 'List', items: objects };
    await this.run(['apply', '-f', '-'], [JSON.stringify(list)]);
  }

  async get<Value>(schema: Schema.Decoder<Value>, kind: string, name: string): Promise<Value> {
    return parseLine(schema, (await this.run(['get', kind, name, '-o', 'json'])).join('\n'));
  }

  /** @param args a namespace and selectors, as for kubectl; default all namespaces */
  async list<Value>(
    schema: Schema.Decoder<Value>,
    kind: string,
    args: readonly string[] = ['-A'],
  ): Promise<readonly Value[]> {
    const answer = (await this.run(['get', kind, ...args, '-o', 'json'])).join('\n');
    return parseLine(Schema.Struct({ items: Schema.Array(schema) }), answer).items;
  }

  /** Runs a program in a pod's first container, or in the named one, and returns its lines. */
  exec(namespace: string, pod: string, argv: readonly string[], container?: string): Promise<string[]> {
    const which = container === undefined ? [] : ['-c', container];
    return this.run(['exec', '-n', namespace, pod, ...which, '--', ...argv]);
  }

  logs(namespace: string, pod: string, args: readonly string[] = []): Promise<string[]> {
    return this.run(['logs', '-n', namespace, pod, ...args]);
  }
}
