// Dials from inside a pod: the request, the answer, and the process that makes them one after another.
import type { LineProcess } from './line-process.js';

/** How the socket is connected; see `peer dial`. */
export type DialMethod = 'plain' | 'nonblock' | 'fastopen' | 'fastopen-connect' | 'iouring' | 'mptcp' | 'udp';

export interface DialOptions {
  /** Default 'plain'. */
  readonly method?: DialMethod;
  /** ip:port to bind() before connecting. */
  readonly bind?: string;
  /** ip:port to connect the same socket to, when the first connect has been refused or its connection has ended. */
  readonly second?: string;
  /** SO_MARK of the socket. */
  readonly mark?: number;
  /** Limit for connecting and reading, in ms. Default PATIENCE_MS. */
  readonly timeout?: number;
}

/** What one acceptor said of itself. A stand-in ztunnel also says the original destination that it read. */
export interface Hop {
  readonly by: string;
  readonly port: number;
  /** The client's address, as this acceptor sees it. */
  readonly peer: string;
  readonly local: string;
  readonly originalDst?: string;
  readonly originalDstFrom?: 'SOL_IP' | 'SOL_IPV6' | 'local';
  /** Of a ztunnel in inPod mode: the uid of the workload whose listener accepted. */
  readonly pod?: string;
  /** It sends back what it gets; see Server. */
  readonly echo?: boolean;
  /** The stand-in ztunnel refused ('self-call') or could not go on ('dial'). */
  readonly error?: 'self-call' | 'dial';
  readonly detail?: string;
}

export interface DialResult {
  /** As it was asked for: ip:port, [ip]:port. */
  readonly to: string;
  readonly ok: boolean;
  /** errno of the connect; 0 when it was made. */
  readonly errno: number;
  /** Its name, such as 'ECONNREFUSED', or ''. */
  readonly error: string;
  /** What getpeername() says; '' when the socket has no peer. */
  readonly peername: string;
  readonly sockname: string;
  /** Who accepted it, in order: a ztunnel first if there was one, then the application. */
  readonly hops: readonly Hop[];
  /** The other side closed the connection in order. */
  readonly ended: boolean;
  /** Name of the errno that ended the reading, or ''. */
  readonly readError: string;
  readonly method: DialMethod;
  readonly second?: DialResult;
}

/** One process that dials what it is told, one after another, over a pipe. */
export class Dialler {
  readonly process: LineProcess;
  #last: Promise<unknown>;

  /** The process must be a `peer dial --stdin`. */
  constructor(process: LineProcess) {
    this.process = process;
    this.#last = process.lineMatching(/^ready$/);
    this.#last.catch(() => {}); // whoever dials first hears of it
  }

  /** Fulfilled when the process is in its place and waits for work. */
  async ready(): Promise<void> {
    await this.#last;
  }

  /** Never rejects for a failed connect, only when the process is gone or the request makes no sense. */
  dial(to: string, options: DialOptions = {}): Promise<DialResult> {
    const words = Object.entries({ to, ...options }).map(([key, value]) => `${key}=${value}`);
    const answer = this.#last.then(async () => {
      this.process.writeLine(words.join(' '));
      const result = JSON.parse(await this.process.nextLine()) as DialResult & { fault?: string };
      if (result.fault !== undefined) throw new Error(`cannot dial ${to}: ${result.fault}`);
      return result;
    });
    this.#last = answer.catch((error: unknown) => {
      if (!this.process.running) throw error;
    });
    this.#last.catch(() => {});
    return answer;
  }
}
