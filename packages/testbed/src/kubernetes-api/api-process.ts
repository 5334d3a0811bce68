// The API double in a process of its own, so that it does not share an event loop with the code under test.
import { fileURLToPath } from 'node:url';
import * as Schema from 'effect/Schema';
import type { Cgroup } from '../cgroup.js';
import { parseLine } from '../json-line.js';
import { LineProcess } from '../line-process.js';
import { enterCommand } from '../peer-program.js';
import { CALLS, type Answer, type CallName, type Given } from './control.js';
import { kubeconfigOf } from './kubeconfig.js';

const Ready = Schema.Struct({ url: Schema.String, ca: Schema.String, token: Schema.String });
const Failure = Schema.Struct({ id: Schema.Int, error: Schema.String });

/** Its standard input is its lifeline: it ends when the process that started it has ended. */
export class KubernetesApiProcess {
  readonly url: string;
  /** PEM. */
  readonly ca: string;
  /** The token of a user who may do everything. */
  readonly adminToken: string;
  readonly process: LineProcess;
  #calls = 0;
  /** The calls are made one after the other, so the answers come in the same order. */
  #last: Promise<unknown> = Promise.resolve();

  private constructor(process: LineProcess, ready: typeof Ready.Type) {
    this.process = process;
    this.url = ready.url;
    this.ca = ready.ca;
    this.adminToken = ready.token;
  }

  /** `port` 0, the default, uses a free one. It runs in the caller's cgroup unless told otherwise. */
  static async start({ port = 0, cgroup }: { port?: number; cgroup?: Cgroup } = {}): Promise<KubernetesApiProcess> {
    // Compiled, also for tests that run this file from src/, which is as deep as dist/.
    const main = fileURLToPath(new URL('../../dist/kubernetes-api/main.js', import.meta.url));
    const command = [process.execPath, main, String(port)];
    const child = await LineProcess.start(
      cgroup === undefined ? command : enterCommand({ cgroup: cgroup.path }, command),
    );
    return new KubernetesApiProcess(child, parseLine(Ready, await child.nextLine()));
  }

  /** Like the method of the same name of `KubernetesApi`. Rejects with its error's message. */
  call<Name extends CallName>(name: Name, ...given: Given<Name>): Promise<Answer<Name>> {
    const success = Schema.Struct({ id: Schema.Int, result: CALLS[name].answer });
    const answered = this.#last.then(async () => {
      this.#calls += 1;
      this.process.writeLine(JSON.stringify({ id: this.#calls, call: name, arguments: given }));
      const answer = parseLine(Schema.Union([Failure, success]), await this.process.nextLine());
      if (answer.id !== this.#calls) throw new Error(`the API double answered ${answer.id} to call ${this.#calls}`);
      if ('error' in answer) throw new Error(answer.error);
      return answer.result;
    });
    this.#last = answered.catch(() => {});
    return answered;
  }

  /** As JSON, which is YAML. */
  kubeconfig(token: string = this.adminToken): string {
    return kubeconfigOf({ url: this.url, ca: this.ca, token });
  }

  async close(): Promise<void> {
    await this.process.stop();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
