// The ZDS server: accepts ztunnels, decides which may speak, and tells each of them what is wanted.
import { setTimeout as sleep } from 'node:timers/promises';
import { listenSeqpacket, type PeerCredentials, type SeqpacketConnection, type SeqpacketListener } from '@sluice/linux';
import { Subject, type Observable } from 'rxjs';
import { defaultBackOff, type BackOff } from './back-off.js';
import { Conversation, type End } from './conversation.js';
import { DesiredState, type DesiredWorkload, type WorkloadStatus, type ZdsWorkload } from './desired-state.js';
import { ZdsError } from './errors.js';
import type { ZdsEvent } from './events.js';
import { zeroCounters, type ZdsMetrics } from './metrics.js';
import { Session, type SessionHost } from './session.js';

/** The process that wants to speak. `pidfd` is open until the decision is made; undefined when the process is gone. */
export interface ZdsPeer extends PeerCredentials {
  readonly pidfd: number | undefined;
}

export interface ZdsServerOptions {
  /** Where ztunnel looks is `/var/run/ztunnel/ztunnel.sock`. */
  readonly path: string;
  /** One that listens at the path already; the server owns it from now on. */
  readonly listener?: SeqpacketListener;
  /**
   * All workloads that are wanted at the start. ztunnel drops whatever the first snapshot does not name, so it must be complete
   * before the first connection: read the inventory, then listen.
   */
  readonly workloads: Iterable<ZdsWorkload>;
  /** Whether a peer may speak. A rejection, an exception or no answer within the deadline means no. */
  readonly authorize: (peer: ZdsPeer) => boolean | Promise<boolean>;
  /** For Hello, and for the answer to each message, in milliseconds. Default 5000, as in istio-cni. */
  readonly deadlineMs?: number;
  /** Connections accepted per second. Default 5, as in istio-cni. */
  readonly acceptsPerSecond?: number;
  /** Connections at once, speaking or not. Default 16. */
  readonly maxConnections?: number;
  /** Waits before a refused workload is offered again. Default 100 ms to 5 s. */
  readonly backOff?: BackOff;
  /** Whether this process's own network namespace may be handed out. Default false, because it is the node's. */
  readonly allowOwnNetns?: boolean;
}

/** A workload that `replace` did not take. */
export interface ZdsRefusal {
  readonly uid: string;
  readonly error: ZdsError;
}

const defaults = { deadlineMs: 5000, acceptsPerSecond: 5, maxConnections: 16 };
/** Pause before the next attempt to accept after one failed (EMFILE, ENOMEM), in milliseconds. */
const acceptErrorPauseMs = 1000;

export class ZdsServer implements AsyncDisposable {
  /** What happens, as it happens; completes when the server is closed. */
  readonly events: Observable<ZdsEvent>;
  readonly path: string;
  readonly #events = new Subject<ZdsEvent>();
  readonly #options: Required<Omit<ZdsServerOptions, 'listener'>>;
  readonly #desired: DesiredState;
  #listener: SeqpacketListener;
  readonly #counters = zeroCounters();
  /** In the order of their Hello: the last is the newest. */
  readonly #sessions: Session[] = [];
  readonly #conversations = new Set<Conversation>();
  readonly #serving = new Set<Promise<void>>();
  readonly #closing = new AbortController();
  readonly #accepting: Promise<void>;
  #nextConnection = 1;

  /**
   * Listens, and accepts from the next turn of the event loop on, so that `events` can be subscribed to first.
   * @throws SystemCallError about the socket's path (EADDRINUSE: another server is alive there).
   */
  static listen(options: ZdsServerOptions): { readonly server: ZdsServer; readonly refusals: ZdsRefusal[] } {
    const server = new ZdsServer(options);
    return { server, refusals: server.replace(options.workloads) };
  }

  private constructor(options: ZdsServerOptions) {
    this.#options = { ...defaults, backOff: defaultBackOff, allowOwnNetns: false, ...options };
    this.path = options.path;
    this.events = this.#events.asObservable();
    this.#desired = new DesiredState(this.#options.allowOwnNetns);
    this.#listener = options.listener ?? listenSeqpacket(options.path);
    this.#accepting = this.#acceptForEver();
  }

  /** Makes the wanted workloads exactly these. Those that cannot be sent are left out and returned; see `set`. */
  replace(workloads: Iterable<ZdsWorkload>): ZdsRefusal[] {
    const refusals: ZdsRefusal[] = [];
    const named = new Set<string>();
    for (const workload of workloads) {
      named.add(workload.uid);
      try {
        this.set(workload);
      } catch (error) {
        if (!(error instanceof ZdsError) || error.code === 'closed') throw error;
        refusals.push({ uid: workload.uid, error });
      }
    }
    for (const uid of this.#desired.uids()) if (!named.has(uid)) this.delete(uid);
    return refusals;
  }

  /**
   * Adds a workload, or changes it: with another namespace under the same uid it is added again.
   * @throws ZdsError message-too-long, invalid-workload, own-netns: nothing has changed then.
   */
  set(workload: ZdsWorkload): void {
    this.#mustBeOpen();
    const before = this.#desired.status(workload.uid);
    if (!this.#desired.set(workload)) return;
    const after = this.#desired.status(workload.uid);
    if (before?.state === 'acked' && after?.state === 'unacked')
      this.#emit({ kind: 'unacked', uid: workload.uid, reason: after.reason });
    for (const session of this.#sessions) session.changed(workload.uid);
  }

  /** Removes a workload: every connected ztunnel is told. */
  delete(uid: string): void {
    this.#mustBeOpen();
    if (!this.#desired.delete(uid)) return;
    for (const session of this.#sessions) session.changed(uid, true);
  }

  /** Undefined if the workload is not wanted. */
  status(uid: string): WorkloadStatus | undefined {
    return this.#desired.status(uid);
  }

  metrics(): ZdsMetrics {
    return {
      ...this.#counters,
      connections: this.#sessions.length,
      workloads: this.#desired.size,
      workloadsUnacked: this.#desired.unacked().length,
    };
  }

  /**
   * Listens at the path anew, after somebody has removed the socket: connections that are open go on, and those that were waiting
   * to be accepted are made again by their clients.
   * @throws SystemCallError (EADDRINUSE: another server is there by now). Nothing has changed then.
   */
  listenAgain(): void {
    this.#mustBeOpen();
    const former = this.#listener;
    this.#listener = listenSeqpacket(this.path);
    former.close();
  }

  /** Idempotent. ztunnel keeps what it has, and connects again to the next server. */
  async close(): Promise<void> {
    if (!this.#closing.signal.aborted) {
      this.#closing.abort();
      this.#listener.close();
      for (const conversation of this.#conversations) conversation.end('server-closed', 'the server was closed');
    }
    await this.#accepting;
    await Promise.all(this.#serving);
    this.#events.complete();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  get #closed(): boolean {
    return this.#closing.signal.aborted;
  }

  #mustBeOpen(): void {
    if (this.#closed) throw new ZdsError('closed', 'this ZDS server is closed');
  }

  #emit(event: ZdsEvent): void {
    this.#events.next(event);
  }

  /** Accepts one at a time, at the given pace; other connections wait in the kernel's queue. */
  async #acceptForEver(): Promise<void> {
    const pauseMs = 1000 / this.#options.acceptsPerSecond;
    while (!this.#closed) {
      const listener = this.#listener;
      let connection: SeqpacketConnection | undefined;
      try {
        connection = await listener.accept();
      } catch (error) {
        this.#counters.acceptErrors++;
        this.#emit({ kind: 'acceptFailed', reason: wordsOf(error) });
        await this.#pause(acceptErrorPauseMs);
        continue;
      }
      if (connection === undefined) {
        if (listener === this.#listener) return;
        continue;
      }
      if (this.#serving.size >= this.#options.maxConnections) {
        this.#refuse(connection, `there are ${this.#serving.size} connections already`);
      } else {
        const serving = this.#serve(connection).finally(() => this.#serving.delete(serving));
        this.#serving.add(serving);
      }
      await this.#pause(pauseMs);
    }
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#closing.signal }).catch(() => undefined);
  }

  #refuse(connection: SeqpacketConnection, reason: string): void {
    this.#counters.connectionsRefused++;
    connection.close();
    this.#emit({ kind: 'refused', peer: connection.peer, reason });
  }

  async #serve(connection: SeqpacketConnection): Promise<void> {
    const reason = await this.#reasonToRefuse(connection);
    if (this.#closed || reason !== undefined) {
      this.#refuse(connection, reason ?? 'the server was closed');
      return;
    }
    this.#counters.connectionsAccepted++;
    const conversation = new Conversation(connection, this.#options.deadlineMs);
    this.#conversations.add(conversation);
    const session = new Session(this.#nextConnection++, conversation, this.#hostFor(connection.peer));
    let end: End;
    try {
      end = await session.run();
    } catch (error) {
      // A defect of ours: it ends one connection, not the process.
      end = { reason: 'failed', detail: wordsOf(error) };
    }
    conversation.end(end.reason, end.detail);
    this.#conversations.delete(conversation);
    this.#left(session, connection.peer, end);
  }

  async #reasonToRefuse(connection: SeqpacketConnection): Promise<string | undefined> {
    const { deadlineMs, authorize } = this.#options;
    const peer = { ...connection.peer, pidfd: connection.peerPidfd?.fd };
    const { signal } = this.#closing;
    return new Promise((resolve) => {
      const decide = (reason: string | undefined): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', closed);
        resolve(reason);
      };
      const closed = (): void => decide('the server was closed');
      const timer = setTimeout(() => decide(`no decision in ${deadlineMs} ms whether it may speak`), deadlineMs);
      signal.addEventListener('abort', closed);
      Promise.resolve(peer)
        .then(authorize)
        // Only `true` lets a peer in, whatever a caller without types may answer.
        .then((allowed: unknown) => decide(allowed === true ? undefined : 'this peer may not speak'))
        .catch((error: unknown) => decide(`whether it may speak could not be decided: ${wordsOf(error)}`));
    });
  }

  #hostFor(peer: PeerCredentials): SessionHost {
    return {
      counters: this.#counters,
      backOff: this.#options.backOff,
      uids: () => this.#desired.uids(),
      get: (uid) => this.#desired.get(uid),
      isNewest: (session) => this.#sessions.at(-1) === session,
      onHello: (session) => {
        this.#sessions.push(session);
        this.#emit({ kind: 'connected', connection: session.id, peer });
      },
      onSynced: (session) => this.#emit({ kind: 'synced', connection: session.id }),
      onAcked: (session, workload) => this.#acked(session, workload),
      onStillAcked: (session, workload) => {
        if (this.#desired.status(workload.uid)?.state === 'unacked') this.#acked(session, workload);
      },
      onNacked: (session, uid, request, reason, retryMs) => {
        if (request === 'add' && this.#sessions.at(-1) === session)
          this.#becomesUnacked(uid, `ztunnel refused it: ${reason}`);
        this.#emit({ kind: 'nacked', uid, connection: session.id, reason, retryMs });
      },
      onRemoved: (session, uid) => this.#emit({ kind: 'removed', uid, connection: session.id }),
    };
  }

  /** Only the newest ztunnel's acknowledgements count: the others are about to leave. */
  #acked(session: Session, workload: DesiredWorkload): void {
    if (this.#sessions.at(-1) !== session || this.#desired.get(workload.uid) !== workload) return;
    this.#desired.setStatus(workload.uid, { state: 'acked' });
    this.#emit({ kind: 'acked', uid: workload.uid, connection: session.id });
  }

  #becomesUnacked(uid: string, reason: string): void {
    const before = this.#desired.status(uid);
    this.#desired.setStatus(uid, { state: 'unacked', reason });
    if (before?.state === 'acked') this.#emit({ kind: 'unacked', uid, reason });
  }

  #left(session: Session, peer: PeerCredentials, end: End): void {
    const { reason, detail } = end;
    const connection = session.id;
    if (reason === 'violation') {
      this.#counters.protocolViolations++;
      this.#emit({ kind: 'protocolViolation', connection, peer, reason: detail });
    }
    if (reason === 'deadline') this.#counters.deadlinesMissed++;
    const wasNewest = this.#sessions.at(-1) === session;
    const index = this.#sessions.indexOf(session);
    if (index >= 0) this.#sessions.splice(index, 1);
    this.#counters.disconnects++;
    this.#emit({ kind: 'disconnected', connection, peer, reason, detail });
    if (!wasNewest || this.#closed) return;
    if (session.adding !== undefined)
      this.#becomesUnacked(session.adding, 'the connection broke before ztunnel had answered');
    this.#fallBackTo(this.#sessions.at(-1));
  }

  /** An older ztunnel is the newest again: it lacks what was added since then, and gets it now. */
  #fallBackTo(session: Session | undefined): void {
    if (session === undefined) return;
    for (const uid of this.#desired.uids()) {
      const workload = this.#desired.get(uid);
      if (workload?.netns !== undefined && !session.hasAcked(workload))
        this.#becomesUnacked(uid, 'the ztunnel that had it is gone');
    }
    session.changedAll();
  }
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
