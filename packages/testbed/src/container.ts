// One container of a pod: its cgroup, its first process, and the processes that joined it later.
import { statSync } from 'node:fs';
import type { ContainerPlace, ContainerRuntime } from './container-runtime.js';
import { Dialler, type DialOptions, type DialResult } from './dialler.js';
import type { Exit, LineProcess } from './line-process.js';

export class Container {
  readonly name: string;
  readonly place: ContainerPlace;
  /** The first process. With runc it is runc itself, which ends with the container. */
  readonly process: LineProcess;
  readonly #runtime: ContainerRuntime;
  #dialler: Promise<Dialler> | undefined;

  private constructor(name: string, place: ContainerPlace, runtime: ContainerRuntime, process: LineProcess) {
    this.name = name;
    this.place = place;
    this.process = process;
    this.#runtime = runtime;
  }

  /** Without `args` the first process is a dialler, which costs nothing until it is used. */
  static async start(
    name: string,
    place: ContainerPlace,
    runtime: ContainerRuntime,
    args?: readonly string[],
  ): Promise<Container> {
    const process = await runtime.start(place, args ?? ['dial', '--stdin']);
    const container = new Container(name, place, runtime, process);
    if (args !== undefined) return container;
    const dialler = new Dialler(process);
    await dialler.ready();
    container.#dialler = Promise.resolve(dialler);
    return container;
  }

  get id(): string {
    return this.place.id;
  }

  /** The kernel's id of its cgroup. */
  get cgroupId(): bigint {
    return statSync(this.place.cgroup, { bigint: true }).ino;
  }

  /** Dials from inside. Hundreds of dials per second are fine; they are made one after the other. */
  async dial(to: string, options?: DialOptions): Promise<DialResult> {
    this.#dialler ??= this.exec(['dial', '--stdin']).then((process) => new Dialler(process));
    return (await this.#dialler).dial(to, options);
  }

  /** Starts one more process inside; the arguments are the peer's. */
  exec(args: readonly string[]): Promise<LineProcess> {
    return this.#runtime.exec(this.place, args);
  }

  /** Ends the first process, and the container with it. */
  stop(): Promise<Exit> {
    return this.process.stop();
  }
}
