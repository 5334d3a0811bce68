// Requests to the thread that waits for the sockets, and their completions: the part that accept, receive and send share.
import { SystemCallError, systemCall } from './errors.js';
import { native, type NativeCompletion, type NativeSeqpacketSockets } from './native.js';

interface Waiter {
  readonly settle: (completion: NativeCompletion) => void;
  readonly cancel: () => void;
}

/** Every socket of this thread; made at its first use. */
export class Sockets {
  readonly #waiters = new Map<number, Waiter>();
  readonly #open = new Set<number>();
  readonly native: NativeSeqpacketSockets;
  #nextRequest = 1;

  constructor() {
    this.native = systemCall(() => new native.SeqpacketSockets((completions) => this.#deliver(completions)));
  }

  opened(socket: number): void {
    this.#open.add(socket);
    if (this.#open.size === 1) this.native.keepAlive(true);
  }

  closed(socket: number): void {
    this.native.close(socket);
    if (this.#open.delete(socket) && this.#open.size === 0) this.native.keepAlive(false);
  }

  nextRequest(): number {
    const request = this.#nextRequest;
    this.#nextRequest = request === 0xffff_ffff ? 1 : request + 1;
    return request;
  }

  wait(request: number, waiter: Waiter): void {
    this.#waiters.set(request, waiter);
  }

  forget(request: number): Waiter | undefined {
    const waiter = this.#waiters.get(request);
    this.#waiters.delete(request);
    return waiter;
  }

  #deliver(completions: readonly NativeCompletion[]): void {
    for (const completion of completions) {
      const waiter = this.forget(completion.request);
      if (waiter !== undefined) waiter.settle(completion);
      else this.#discard(completion);
    }
  }

  /** What arrived for a socket that was closed meanwhile must not stay open. */
  #discard(completion: NativeCompletion): void {
    if (completion.kind === 'accepted') {
      completion.peer.pidfd?.close();
      this.native.close(completion.socket);
    }
    if (completion.kind === 'received') for (const fd of completion.packet.fds) fd.close();
  }
}

let sockets: Sockets | undefined;
export const allSockets = (): Sockets => (sockets ??= new Sockets());

export function failure(errno: number, syscall: string, object: string): SystemCallError {
  return new SystemCallError({ errno, syscall, object });
}

/** What listeners and connections share: one thing at a time is awaited, and close() settles it. */
export class Endpoint {
  readonly socket: number;
  readonly object: string;
  readonly all: Sockets;
  readonly unsettled = new Set<number>();
  closed = false;
  awaiting = false;

  constructor(all: Sockets, socket: number, object: string) {
    this.all = all;
    this.socket = socket;
    this.object = object;
    all.opened(socket);
  }

  /** One request whose completion `read` turns into a value; undefined for what a closed endpoint gives. */
  request<Value>(
    start: (request: number) => boolean | void,
    read: (completion: NativeCompletion) => Value,
    whenClosed: (resolve: (value: Value | undefined) => void, reject: (error: Error) => void) => void,
  ): Promise<Value | undefined> {
    return new Promise((resolve, reject) => {
      const request = this.all.nextRequest();
      systemCall(() => {
        // True: it was done at once, and there is nothing to wait for.
        if (start(request) === true) resolve(undefined);
        else this.unsettled.add(request);
      });
      if (!this.unsettled.has(request)) return;
      this.all.wait(request, {
        settle: (completion) => {
          this.unsettled.delete(request);
          if (completion.kind === 'failed') reject(failure(completion.errno, completion.syscall, this.object));
          else resolve(read(completion));
        },
        cancel: () => whenClosed(resolve, reject),
      });
    });
  }

  /** For accept and receive: a second call at the same time is a mistake of the caller. */
  async next<Value>(
    syscall: string,
    start: (request: number) => void,
    read: (completion: NativeCompletion) => Value | undefined,
  ): Promise<Value | undefined> {
    if (this.closed) return undefined;
    if (this.awaiting) throw new Error(`${syscall} ${this.object}: another call is under way; await it first`);
    this.awaiting = true;
    try {
      return await this.request(start, read, (resolve) => resolve(undefined));
    } finally {
      this.awaiting = false;
    }
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.all.closed(this.socket);
    for (const request of this.unsettled) this.all.forget(request)?.cancel();
    this.unsettled.clear();
  }
}
