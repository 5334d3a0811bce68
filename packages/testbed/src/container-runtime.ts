// How a container of a pod is made. The direct way does what a runtime does, reduced to a cgroup and a netns.
import { Cgroup } from './cgroup.js';
import { LineProcess } from './line-process.js';
import { enterCommand, peerProgram } from './peer-program.js';

/** Where a container is to run: all that a runtime needs to know. */
export interface ContainerPlace {
  /** 64 hexadecimal digits, as containerd makes them. */
  readonly id: string;
  /** Absolute path of its cgroup's directory, which need not exist. */
  readonly cgroup: string;
  /** Path of the pod's network namespace. */
  readonly netns: string;
}

/** Runs the peer program in containers. The arguments are the peer's: ['serve', '--port', '80', ...]. */
export interface ContainerRuntime {
  /** Makes the container, with the peer as its first process. */
  start(place: ContainerPlace, args: readonly string[]): Promise<LineProcess>;
  /** Runs one more process in a container that has been started. */
  exec(place: ContainerPlace, args: readonly string[]): Promise<LineProcess>;
}

/** Processes in the pod's cgroup and netns, with the file system and the pids of the machine. */
export const directRuntime: ContainerRuntime = {
  start(place, args) {
    return this.exec({ ...place, cgroup: new Cgroup(place.cgroup).path }, args);
  },
  exec(place, args) {
    return LineProcess.start(enterCommand({ cgroup: place.cgroup, netns: place.netns }, [peerProgram(), ...args]));
  },
};
