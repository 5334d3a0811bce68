// One connection as question and answer: at most one message under way, a deadline for each, and no packet that was not asked
// for. Anything that goes wrong ends it, once, with a reason.
import type { SeqpacketConnection, SeqpacketPacket } from '@sluice/linux';
import type { EndReason } from './events.js';
import { decodeHello, decodeResponse, longestMessage, type Decoded } from './messages.js';

export interface End {
  readonly reason: EndReason;
  readonly detail: string;
}

/** Thrown to callers that wait for an answer when the conversation is over. */
export class ConversationEnded extends Error {
  override readonly name = 'ConversationEnded';
  readonly end: End;

  constructor(end: End) {
    super(end.detail);
    this.end = end;
  }
}

interface Expectation {
  readonly answer: (bytes: Uint8Array) => void;
  readonly fail: (error: ConversationEnded) => void;
}

export class Conversation {
  /** Resolves once, when it is over; the socket is closed then. */
  readonly ended: Promise<End>;
  readonly #connection: SeqpacketConnection;
  readonly #deadlineMs: number;
  #resolveEnded: (end: End) => void = () => undefined;
  #end: End | undefined;
  #expected: Expectation | undefined;

  constructor(connection: SeqpacketConnection, deadlineMs: number) {
    this.#connection = connection;
    this.#deadlineMs = deadlineMs;
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
    void this.#listen();
  }

  /** Undefined while it goes on. */
  get over(): End | undefined {
    return this.#end;
  }

  /** Waits for ztunnel's first packet. @throws ConversationEnded */
  async hello(): Promise<void> {
    await this.#expect('Hello', decodeHello);
  }

  /**
   * Sends one request and waits for its answer: '' or the reason of a refusal. The descriptors need to be open only
   * until this returns its promise.
   * @throws ConversationEnded
   */
  async ask(what: string, request: Uint8Array, fds: readonly number[]): Promise<string> {
    // An old answer must not be taken for the answer to this request; the listener finds it and ends the conversation.
    if (this.#end === undefined && this.#connection.readable()) throw new ConversationEnded(await this.ended);
    const answer = this.#expect(what, decodeResponse);
    this.#connection.send(request, fds).catch((error: unknown) => this.#fail(error));
    return answer;
  }

  /** Ends it. Only the first call counts. */
  end(reason: EndReason, detail: string): void {
    if (this.#end !== undefined) return;
    const end = { reason, detail };
    this.#end = end;
    this.#connection.close();
    this.#expected?.fail(new ConversationEnded(end));
    this.#expected = undefined;
    this.#resolveEnded(end);
  }

  #expect<Value>(what: string, decode: (bytes: Uint8Array) => Decoded<Value>): Promise<Value> {
    return new Promise((resolve, reject) => {
      if (this.#end !== undefined) {
        reject(new ConversationEnded(this.#end));
        return;
      }
      const timer = setTimeout(
        () => this.end('deadline', `${what}: no answer in ${this.#deadlineMs} ms`),
        this.#deadlineMs,
      );
      this.#expected = {
        answer: (bytes) => {
          const decoded = decode(bytes);
          if ('violation' in decoded) {
            this.end('violation', decoded.violation);
            return;
          }
          clearTimeout(timer);
          this.#expected = undefined;
          resolve(decoded.value);
        },
        fail: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
    });
  }

  /** One receive() is always under way, so that a peer that leaves, or sends something unasked, is noticed. */
  async #listen(): Promise<void> {
    try {
      while (this.#end === undefined) {
        const packet = await this.#connection.receive({ maxBytes: longestMessage, maxFds: 0 });
        if (packet === undefined) {
          this.end('peer-closed', 'the peer closed the connection');
          return;
        }
        const fault = faultOf(packet) ?? (this.#expected === undefined ? 'a packet that nothing asked for' : undefined);
        if (fault === undefined) this.#expected?.answer(packet.bytes);
        else this.end('violation', fault);
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    this.end('failed', error instanceof Error ? error.message : String(error));
  }
}

function faultOf(packet: SeqpacketPacket): string | undefined {
  if (packet.truncated) return `a packet of more than ${longestMessage} bytes`;
  // No descriptor is ever taken: the call has no room for any, so the kernel cut them off.
  if (packet.controlTruncated || packet.fds.length > 0) return 'a packet with file descriptors';
  if (packet.malformedControl) return 'a packet with broken ancillary data';
  return undefined;
}
