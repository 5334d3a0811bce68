// A port on loopback that can be closed, which cuts every connection, and opened again with the same number.
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { Socket } from 'node:net';
import type { Certificate } from './certificate.js';

export class HttpsPort {
  readonly #certificate: Certificate;
  readonly #answer: (request: IncomingMessage, response: ServerResponse) => void;
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;
  #number: number;

  /** 0 uses a free port when it is opened. */
  constructor(
    number: number,
    certificate: Certificate,
    answer: (request: IncomingMessage, response: ServerResponse) => void,
  ) {
    this.#number = number;
    this.#certificate = certificate;
    this.#answer = answer;
  }

  get number(): number {
    return this.#number;
  }

  async open(): Promise<void> {
    if (this.#server !== undefined) return;
    const { certificate: cert, key } = this.#certificate;
    const server = createServer({ cert, key, keepAliveTimeout: 120_000 }, this.#answer);
    this.#server = server;
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('error', () => {}); // the client's doing
    });
    server.on('tlsClientError', () => {});
    server.listen(this.#number, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('the server listens at no port');
    this.#number = address.port;
  }

  async close(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    const closed = once(server, 'close');
    server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}

/** Cuts the connection after so many bytes of plain text have been written to it. */
export function cutAfter(response: ServerResponse, bytes: number): void {
  const { socket } = response;
  if (socket === null) return;
  const write: (chunk: Buffer, done?: () => void) => boolean = socket.write.bind(socket);
  let left = bytes;
  socket.write = (chunk: string | Uint8Array, encoding?: unknown) => {
    const isNamed = typeof encoding === 'string' && Buffer.isEncoding(encoding);
    const data = typeof chunk === 'string' ? Buffer.from(chunk, isNamed ? encoding : 'utf8') : Buffer.from(chunk);
    if (data.length < left) {
      left -= data.length;
      return write(data);
    }
    const rest = data.subarray(0, left);
    left = 0;
    if (rest.length === 0) socket.destroy();
    else write(rest, () => socket.destroy());
    return false;
  };
}
