// The directory of pods' logs, which the kubelet keeps: where a pod's name, namespace and UID can be seen before it runs.
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Cgroup } from './cgroup.js';
import { LineProcess } from './line-process.js';
import { enterCommand, peerProgram } from './peer-program.js';

export class PodLogs {
  /** What /var/log/pods is on a node. */
  readonly directory: string;
  readonly #makers: Cgroup;
  #maker: Promise<LineProcess> | undefined;
  #last: Promise<unknown> = Promise.resolve();

  /** `makers` is the cgroup of the process that makes directories: outside every pod, as the kubelet is. */
  constructor(directory: string, makers: Cgroup) {
    this.directory = directory;
    this.#makers = makers;
    mkdirSync(directory, { recursive: true });
  }

  pathOf(pod: { readonly namespace: string; readonly name: string; readonly uid: string }): string {
    return join(this.directory, `${pod.namespace}_${pod.name}_${pod.uid}`);
  }

  /** Makes a directory by mkdirat(2) with its absolute path, as the kubelet's Go does. */
  make(path: string): Promise<void> {
    const made = this.#last.then(() => this.#make(path));
    this.#last = made.catch(() => {});
    return made;
  }

  remove(path: string): void {
    rmSync(path, { recursive: true, force: true });
  }

  async #make(path: string): Promise<void> {
    this.#maker ??= LineProcess.start(enterCommand({ cgroup: this.#makers.path }, [peerProgram(), 'make-directories']));
    const maker = await this.#maker;
    maker.writeLine(path);
    const answer = await maker.nextLine();
    if (answer !== '') throw new Error(`cannot make ${path}: ${answer}`);
  }
}
