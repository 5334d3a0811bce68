// A ZDS server that sends anything: the packets of a faulty agent, written byte by byte.
import { listenSeqpacket, type SeqpacketConnection, type SeqpacketListener } from '@sluice/linux';

const LENGTH_DELIMITED = 2;

/** Field `number` with these bytes; all lengths here are below 128. */
const field = (number: number, content: Uint8Array | string): Buffer => {
  const bytes = Buffer.from(content);
  if (bytes.length > 127) throw new Error('too long for a length of one byte');
  return Buffer.concat([Buffer.from([(number << 3) | LENGTH_DELIMITED, bytes.length]), bytes]);
};

export const HELLO_V1 = Buffer.from([0x08, 0x01]);
export const add = (uid: string): Buffer =>
  field(1, Buffer.concat([field(1, uid), field(2, Buffer.concat([field(1, 'name'), field(2, 'ns'), field(3, 'sa')]))]));
export const addWithoutInfo = (uid: string): Buffer => field(1, field(1, uid));
export const del = (uid: string): Buffer => field(2, field(2, uid));
export const keep = (uid: string): Buffer => field(5, field(1, uid));
export const snapshotSent = (): Buffer => field(3, '');

export class WireServer implements Disposable {
  readonly #listener: SeqpacketListener;
  #connection: SeqpacketConnection | undefined;

  constructor(path: string) {
    this.#listener = listenSeqpacket(path);
  }

  /** The next connection; returns the bytes of its first packet. */
  async accept(): Promise<Buffer> {
    this.#connection?.close();
    this.#connection = await this.#listener.accept();
    return this.#receive();
  }

  /** Sends one packet, and returns the text of the answer's error: '' is an acknowledgement. */
  async ask(bytes: Uint8Array, fds: readonly number[] = []): Promise<string> {
    await this.#connection?.send(bytes, fds);
    const answer = await this.#receive();
    // WorkloadResponse{ack=1{error=1}}: two tags and two lengths before the text, or one of each and nothing.
    if (answer[0] !== 0x0a) throw new Error(`no WorkloadResponse: ${answer.toString('hex')}`);
    return answer[1] === 0 ? '' : answer.subarray(4).toString();
  }

  /** Whether the peer has disconnected. */
  async isClosed(): Promise<boolean> {
    return (await this.#connection?.receive()) === undefined;
  }

  [Symbol.dispose](): void {
    this.#connection?.close();
    this.#listener.close();
  }

  async #receive(): Promise<Buffer> {
    const packet = await this.#connection?.receive();
    if (packet === undefined) throw new Error('the peer has left');
    return packet.bytes;
  }
}
