// A daemon of a cluster: a process in a cgroup of its own that writes its output to a file and dies with the testbed.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Cgroup } from '../cgroup.js';
import { LineProcess, type Exit } from '../line-process.js';
import { enterCommand } from '../peer-program.js';
import { Hopeless, until } from '../patience.js';

/** How much of its output an error shows, in lines. */
const SHOWN_LINES = 15;
/** How long it may take to end by itself, in ms; after that it is killed. */
const GRACE_MS = 10_000;

export interface DaemonPlace {
  readonly cgroup: Cgroup;
  /** A directory for the file `<name>.log`. */
  readonly logs: string;
}

export class Daemon {
  readonly name: string;
  readonly log: string;
  readonly process: LineProcess;

  private constructor(name: string, log: string, process: LineProcess) {
    this.name = name;
    this.log = log;
    this.process = process;
  }

  /** The log keeps what was in it, and grows. */
  static async start(name: string, argv: readonly string[], place: DaemonPlace): Promise<Daemon> {
    const log = join(place.logs, `${name}.log`);
    const logged = ['sh', '-c', 'exec >>"$0" 2>&1 "$@"', log, ...argv];
    const process = await LineProcess.start(enterCommand({ cgroup: place.cgroup.path }, logged));
    return new Daemon(name, log, process);
  }

  /** Like until(), but hopeless once the daemon has ended. */
  until<T>(what: string, probe: () => T | Promise<T>): Promise<T> {
    return until(what, () => {
      if (!this.process.running) throw new Hopeless(`${this.name} has ended; the end of its log:\n${this.tail()}`);
      return probe();
    });
  }

  tail(): string {
    return readFileSync(this.log, 'utf8').trimEnd().split('\n').slice(-SHOWN_LINES).join('\n');
  }

  stop(): Promise<Exit> {
    return this.process.stop(GRACE_MS);
  }
}
