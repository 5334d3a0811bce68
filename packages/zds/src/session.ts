// What one ztunnel is told, and in which order. The session compares what is wanted with what it has sent, and sends the
// difference, one message at a time; so it needs no queue, and a change that is undone in time is never sent.
import { backOffMs, type BackOff } from './back-off.js';
import { ConversationEnded, type Conversation, type End } from './conversation.js';
import type { DesiredWorkload } from './desired-state.js';
import { encodeRequest, type ZdsRequest } from './messages.js';
import type { ZdsCounters } from './metrics.js';

/** What a session needs from the server that it belongs to. */
export interface SessionHost {
  readonly counters: ZdsCounters;
  readonly backOff: BackOff;
  uids(): string[];
  get(uid: string): DesiredWorkload | undefined;
  /** Adds go to the newest session only, once its snapshot is over. */
  isNewest(session: Session): boolean;
  onHello(session: Session): void;
  onSynced(session: Session): void;
  onAcked(session: Session, workload: DesiredWorkload): void;
  /** ztunnel has this workload as it is wanted, so nothing needs to be sent. */
  onStillAcked(session: Session, workload: DesiredWorkload): void;
  onNacked(session: Session, uid: string, request: 'add' | 'del', reason: string, retryMs: number | undefined): void;
  onRemoved(session: Session, uid: string): void;
}

/** What ztunnel was told about a workload on this connection. */
interface Told {
  /** Undefined if it was told to keep what it has. */
  readonly netnsCookie: bigint | undefined;
  readonly identityKey: string;
  acked: boolean;
}

type Step =
  | { readonly kind: 'add'; readonly workload: DesiredWorkload; readonly fd: number }
  | { readonly kind: 'keep'; readonly workload: DesiredWorkload }
  | { readonly kind: 'del'; readonly uid: string };

export class Session {
  /** The connection's number. */
  readonly id: number;
  readonly #conversation: Conversation;
  readonly #host: SessionHost;
  readonly #told = new Map<string, Told>();
  /** The workloads to be looked at, in this order. */
  readonly #dirty = new Set<string>();
  /** Removed during this connection: a Del is owed even if this ztunnel was never told of it. */
  readonly #removed = new Set<string>();
  /** Timers of refused workloads that will be looked at again. */
  readonly #retries = new Map<string, ReturnType<typeof setTimeout>>();
  /** Refusals in a row. */
  readonly #refusals = new Map<string, number>();
  #snapshotDone = false;
  #adding: string | undefined;
  #wake: () => void = () => undefined;

  constructor(id: number, conversation: Conversation, host: SessionHost) {
    this.id = id;
    this.#conversation = conversation;
    this.#host = host;
  }

  /** The workload whose Add is under way. */
  get adding(): string | undefined {
    return this.#adding;
  }

  hasAcked(workload: DesiredWorkload): boolean {
    const told = this.#told.get(workload.uid);
    return told !== undefined && told.acked && matches(told, workload);
  }

  /** Something about this workload has changed: look at it again, and at once. */
  changed(uid: string, removed = false): void {
    this.#forgetRetry(uid);
    if (removed) this.#removed.add(uid);
    this.#dirty.add(uid);
    this.#wake();
  }

  /** Looks at every workload again: this session has become the newest. */
  changedAll(): void {
    for (const uid of this.#host.uids()) this.#dirty.add(uid);
    this.#wake();
  }

  /** Ends when the conversation does, and never rejects for it. */
  async run(): Promise<End> {
    // Done once, and not by a race in each wait, because a promise that lives as long as the connection would keep all of them.
    void this.#conversation.ended.then(() => this.#wake());
    try {
      await this.#conversation.hello();
      this.changedAll();
      this.#host.onHello(this);
      await this.#sayEverything();
      await this.#saySnapshot();
      for (;;) {
        await this.#sayEverything();
        await this.#untilWoken();
      }
    } catch (error) {
      if (error instanceof ConversationEnded) return error.end;
      throw error;
    } finally {
      for (const uid of this.#retries.keys()) this.#forgetRetry(uid);
    }
  }

  async #sayEverything(): Promise<void> {
    for (let step = this.#next(); step !== undefined; step = this.#next()) await this.#perform(step);
  }

  async #saySnapshot(): Promise<void> {
    this.#host.counters.snapshotsSent++;
    const refusal = await this.#say({ kind: 'snapshot' });
    if (refusal !== '') {
      // ztunnel exits after this one, and a connection without a snapshot is of no use.
      this.#conversation.end('violation', `SnapshotSent was refused: ${refusal}`);
      throw new ConversationEnded(await this.#conversation.ended);
    }
    this.#snapshotDone = true;
    this.#host.onSynced(this);
  }

  async #untilWoken(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      // Something happened since the last look, when nobody was waiting.
      if (this.#dirty.size > 0 || this.#conversation.over !== undefined) resolve();
    });
    const { over } = this.#conversation;
    if (over !== undefined) throw new ConversationEnded(over);
  }

  #next(): Step | undefined {
    for (const uid of this.#dirty) {
      this.#dirty.delete(uid);
      const step = this.#stepFor(uid);
      if (step !== undefined) return step;
    }
    return undefined;
  }

  #stepFor(uid: string): Step | undefined {
    if (this.#retries.has(uid)) return undefined;
    const workload = this.#host.get(uid);
    const told = this.#told.get(uid);
    if (workload === undefined) return told !== undefined || this.#removed.has(uid) ? { kind: 'del', uid } : undefined;
    // It is back: at most an Add is owed.
    this.#removed.delete(uid);
    const { netns } = workload;
    if (netns === undefined) return told === undefined && !this.#snapshotDone ? { kind: 'keep', workload } : undefined;
    if (told !== undefined && told.acked && matches(told, workload)) {
      this.#host.onStillAcked(this, workload);
      return undefined;
    }
    // ztunnel ignores an Add for a namespace that it already serves, and would keep the old identity.
    if (told !== undefined && told.netnsCookie === netns.cookie && told.identityKey !== workload.identityKey)
      return { kind: 'del', uid };
    if (this.#snapshotDone && !this.#host.isNewest(this)) return undefined;
    return { kind: 'add', workload, fd: netns.fd };
  }

  async #perform(step: Step): Promise<void> {
    const { counters } = this.#host;
    switch (step.kind) {
      case 'add': {
        const { uid, identity, identityKey, netns } = step.workload;
        const told: Told = { netnsCookie: netns?.cookie, identityKey, acked: false };
        this.#told.set(uid, told);
        this.#adding = uid;
        counters.addsSent++;
        const refusal = await this.#say({ kind: 'add', uid, identity }, [step.fd]);
        this.#adding = undefined;
        if (refusal === '') {
          told.acked = true;
          this.#refusals.delete(uid);
          this.#host.onAcked(this, step.workload);
        } else this.#retryLater(uid, 'add', refusal);
        return;
      }
      case 'keep': {
        const { uid, identityKey } = step.workload;
        this.#told.set(uid, { netnsCookie: undefined, identityKey, acked: false });
        counters.keepsSent++;
        const refusal = await this.#say({ kind: 'keep', uid });
        // It is not repeated: after the snapshot a Keep is a protocol error.
        if (refusal !== '') this.#host.onNacked(this, uid, 'add', refusal, undefined);
        return;
      }
      case 'del': {
        counters.delsSent++;
        const refusal = await this.#say({ kind: 'del', uid: step.uid });
        if (refusal === '') {
          this.#told.delete(step.uid);
          this.#removed.delete(step.uid);
          this.#refusals.delete(step.uid);
          this.#host.onRemoved(this, step.uid);
          // An Add may be due instead.
          if (this.#host.get(step.uid) !== undefined) this.#dirty.add(step.uid);
        } else this.#retryLater(step.uid, 'del', refusal);
      }
    }
  }

  async #say(request: ZdsRequest, fds: readonly number[] = []): Promise<string> {
    const what = 'uid' in request ? `${request.kind} ${request.uid}` : 'SnapshotSent';
    const refusal = await this.#conversation.ask(what, encodeRequest(request), fds);
    if (refusal === '') this.#host.counters.acks++;
    else this.#host.counters.nacks++;
    return refusal;
  }

  #retryLater(uid: string, request: 'add' | 'del', reason: string): void {
    const refusals = (this.#refusals.get(uid) ?? 0) + 1;
    this.#refusals.set(uid, refusals);
    const ms = backOffMs(this.#host.backOff, refusals);
    // It changed while the answer was under way: there is something new to send, and no reason to wait.
    if (!this.#dirty.has(uid)) {
      const timer = setTimeout(() => {
        this.#retries.delete(uid);
        this.#dirty.add(uid);
        this.#wake();
      }, ms);
      this.#retries.set(uid, timer);
    }
    this.#host.onNacked(this, uid, request, reason, ms);
  }

  #forgetRetry(uid: string): void {
    clearTimeout(this.#retries.get(uid));
    this.#retries.delete(uid);
  }
}

function matches(told: Told, workload: DesiredWorkload): boolean {
  return told.netnsCookie === workload.netns?.cookie && told.identityKey === workload.identityKey;
}
