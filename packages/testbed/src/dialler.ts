// Dials from inside a pod: the request, the answer, and the process that makes the dials one after the other.
import * as Schema from 'effect/Schema';
import { parseLine } from './json-line.js';
import type { LineProcess } from './line-process.js';

/** How the socket is connected; see `peer dial`. */
const DialMethod = Schema.Literals(['plain', 'nonblock', 'fastopen', 'fastopen-connect', 'iouring', 'mptcp', 'udp']);
export type DialMethod = typeof DialMethod.Type;

export interface DialOptions {
  /** Default 'plain'. */
  readonly method?: DialMethod;
  /** ip:port to bind() before connecting, with SO_REUSEADDR. */
  readonly bind?: string;
  /** IP_BIND_ADDRESS_NO_PORT: connect() chooses the port for a `bind` to port 0. Default false. */
  readonly latePort?: boolean;
  /** IP_TRANSPARENT: `bind` may be an address that nobody has. Default false. */
  readonly transparent?: boolean;
  /** SO_BINDTODEVICE of the socket. */
  readonly device?: string;
  /** ip:port to connect the same socket to after the first connect was refused or its connection has ended. */
  readonly second?: string;
  /** ip:port to connect another socket to from the same `bind`, while the first one is connected. */
  readonly beside?: string;
  /** SO_MARK of the socket. */
  readonly mark?: number;
  /** Limit for connecting and reading, in ms. Default PATIENCE_MS. */
  readonly timeout?: number;
}

/**
 * What one acceptor said about itself. A stand-in ztunnel also says which original destination it read. If it then refuses or
 * cannot go on, a further line has only `error` and `detail`.
 */
export const Hop = Schema.Struct({
  by: Schema.optionalKey(Schema.String),
  port: Schema.optionalKey(Schema.Int),
  /** The client's address, as this acceptor sees it. */
  peer: Schema.optionalKey(Schema.String),
  local: Schema.optionalKey(Schema.String),
  originalDst: Schema.optionalKey(Schema.String),
  originalDstFrom: Schema.optionalKey(Schema.Literals(['SOL_IP', 'SOL_IPV6', 'local'])),
  /** Only from a ztunnel in inPod mode: the uid of the workload whose listener accepted. */
  pod: Schema.optionalKey(Schema.String),
  /** It sends back what it gets; see Server. */
  echo: Schema.optionalKey(Schema.Boolean),
  error: Schema.optionalKey(Schema.Literals(['self-call', 'dial'])),
  detail: Schema.optionalKey(Schema.String),
});
export type Hop = typeof Hop.Type;

const OneDial = Schema.Struct({
  /** As in the request: ip:port, [ip]:port. */
  to: Schema.String,
  ok: Schema.Boolean,
  /** errno of the connect; 0 if it succeeded. */
  errno: Schema.Int,
  /** Its name, such as 'ECONNREFUSED', or ''. */
  error: Schema.String,
  /** The result of getpeername(); '' if the socket has no peer. */
  peername: Schema.String,
  sockname: Schema.String,
  /** SO_MARK after the connect, 0 to 2^32-1. */
  mark: Schema.Int,
  /** SO_BINDTODEVICE after the connect, or ''. */
  device: Schema.String,
  /** Who accepted it, in order: a ztunnel first if there was one, then the application. */
  hops: Schema.Array(Hop),
  /** The other side closed the connection in an orderly way. */
  ended: Schema.Boolean,
  /** Name of the errno that ended the reading, or ''. */
  readError: Schema.String,
  method: DialMethod,
});
export const DialResult = Schema.Struct({
  ...OneDial.fields,
  second: Schema.optionalKey(OneDial),
  beside: Schema.optionalKey(OneDial),
});
export type DialResult = typeof DialResult.Type;

/** The next answer of a `peer dial` whose command line says what to dial. */
export const readDial = async (process: LineProcess): Promise<DialResult> =>
  parseLine(DialResult, await process.nextLine());

/** A request that makes no sense. */
const Fault = Schema.Struct({ fault: Schema.String });

/** One process that makes the requested dials one after the other, over a pipe. */
export class Dialler {
  readonly process: LineProcess;
  #last: Promise<unknown>;

  /** The process must be a `peer dial --stdin`. */
  constructor(process: LineProcess) {
    this.process = process;
    this.#last = process.lineMatching(/^ready$/);
    this.#last.catch(() => {}); // the first dial reports it
  }

  /** Fulfilled when the process is in its place and waits for requests. */
  async ready(): Promise<void> {
    await this.#last;
  }

  /** Rejects only if the process is gone or the request makes no sense, never for a failed connect. */
  dial(to: string, options: DialOptions = {}): Promise<DialResult> {
    const words = Object.entries({ to, ...options }).map(([key, value]) => `${key}=${value}`);
    const answer = this.#last.then(async () => {
      this.process.writeLine(words.join(' '));
      const answer = parseLine(Schema.Union([DialResult, Fault]), await this.process.nextLine());
      if ('fault' in answer) throw new Error(`cannot dial ${to}: ${answer.fault}`);
      return answer;
    });
    this.#last = answer.catch((error: unknown) => {
      if (!this.process.running) throw error;
    });
    this.#last.catch(() => {});
    return answer;
  }
}
