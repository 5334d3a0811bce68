// AF_UNIX SOCK_SEQPACKET sockets (unix(7)): whole packets in order, file descriptors with them, and the identity of the process
// at the other end. One thread waits for all of them; nothing here blocks.
import { constants } from 'node:os';
import { systemCall } from './errors.js';
import type { NativeOwnedFd, NativePacket, NativePeer } from './native.js';
import { allSockets, Endpoint, failure, type Sockets } from './seqpacket-requests.js';

/** struct ucred of unix(7). `pid` is 0 for a process that this one's pid namespace does not show. */
export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** A descriptor of this process (close-on-exec) that this object owns. close() closes it, and so does garbage collection. */
export class OwnedFd implements Disposable {
  readonly #native: NativeOwnedFd;

  constructor(native: NativeOwnedFd) {
    this.#native = native;
  }

  /** The number; -1 once closed. It is valid only while this object is referenced. */
  get fd(): number {
    return this.#native.fd;
  }

  /** Idempotent. */
  close(): void {
    this.#native.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** A received packet. The receiver owns its descriptors: close each, or all of them by close(). */
export interface SeqpacketPacket extends Disposable {
  readonly bytes: Buffer;
  readonly fds: readonly OwnedFd[];
  /** MSG_TRUNC: the packet was longer than `maxBytes`, and the rest is gone. */
  readonly truncated: boolean;
  /** MSG_CTRUNC: more descriptors came than `maxFds`; the rest were not opened in this process. */
  readonly controlTruncated: boolean;
  /** The ancillary data could not be parsed; the packet has what was read before the fault. */
  readonly malformedControl: boolean;
  /** SCM_CREDENTIALS: the sender of this very packet, who may be another than the one that connected. */
  readonly sender: PeerCredentials | undefined;
  close(): void;
}

export interface ReceiveOptions {
  /** Longest packet that is received whole, in bytes. Default 65536. */
  readonly maxBytes?: number;
  /** How many descriptors are accepted, 0 to 253. Default 0: a peer can then open nothing in this process. */
  readonly maxFds?: number;
}

/** One end of a connection. An open one keeps the process alive. */
export interface SeqpacketConnection extends Disposable {
  /** SO_PEERCRED: the other process as it was when it called connect() or listen(). */
  readonly peer: PeerCredentials;
  /** A pidfd of that process, closed with the connection; undefined when it was gone already. */
  readonly peerPidfd: OwnedFd | undefined;
  /** Whether the pidfd is certain to be the connected process (SO_PEERPIDFD, Linux 6.5). False: it was opened by pid. */
  readonly peerPidfdFromSocket: boolean;
  readonly closed: boolean;
  /**
   * Sends one packet (at least one byte if there are descriptors, to be portable). Waits for room if the peer does not read;
   * packets leave in the order of the calls. The descriptors remain the caller's and may be closed as soon as this has
   * returned.
   * @throws SystemCallError (the promise rejects) EPIPE: the peer is gone; EMSGSIZE: longer than the send buffer; ETOOMANYREFS:
   * too many descriptors under way; EBADF: one of them is closed, or this connection is; ECANCELED: closed while it waited.
   */
  send(bytes: Uint8Array, fds?: readonly (number | OwnedFd)[]): Promise<void>;
  /**
   * The next packet; undefined when the peer has closed its end (or shut down its sending half), or this one is closed. Only
   * one call at a time: a second one is an Error.
   * @throws SystemCallError (the promise rejects) ECONNRESET: the peer left without reading everything.
   */
  receive(options?: ReceiveOptions): Promise<SeqpacketPacket | undefined>;
  /** shutdown(2) SHUT_WR: nothing more is sent, which the peer reads as the end; what it sends still arrives. */
  endSending(): void;
  /** True if there is a packet, the end or an error, whether a `receive()` under way has taken it or not. */
  readable(): boolean;
  /** Idempotent. Waiting calls are settled: sends reject with ECANCELED, receive returns undefined. */
  close(): void;
}

/** A listening socket and its file. An open one keeps the process alive. */
export interface SeqpacketListener extends Disposable {
  readonly path: string;
  readonly closed: boolean;
  /**
   * The next connection; undefined once closed. Only one call at a time. Until it is called, connections wait in the kernel's
   * queue, so the caller sets the pace.
   * @throws SystemCallError (the promise rejects) EMFILE: no descriptor is left; wait before the next call.
   */
  accept(): Promise<SeqpacketConnection | undefined>;
  /** Idempotent. Removes the file, unless it is another one by now. */
  close(): void;
}

export interface ListenOptions {
  /** Connections that wait for accept(), limited by net.core.somaxconn. Default 16. */
  readonly backlog?: number;
  /**
   * Whether to take the place of a socket on which another process listens, so that every connect() meets one of the two. Default false.
   * What waits in the other's queue stays there. For that, the file `.next` in the same directory is made and renamed.
   */
  readonly replace?: boolean;
}

const defaultBacklog = 16;
const defaultMaxBytes = 65_536;

function packetOf(native: NativePacket): SeqpacketPacket {
  const fds = native.fds.map((fd) => new OwnedFd(fd));
  const close = (): void => {
    for (const fd of fds) fd.close();
  };
  return {
    bytes: native.bytes,
    fds,
    truncated: native.truncated,
    controlTruncated: native.controlTruncated,
    malformedControl: native.malformedControl,
    sender: native.sender,
    close,
    [Symbol.dispose]: close,
  };
}

function connectionOf(all: Sockets, socket: number, peer: NativePeer, object: string): SeqpacketConnection {
  const endpoint = new Endpoint(all, socket, object);
  const peerPidfd = peer.pidfd === undefined ? undefined : new OwnedFd(peer.pidfd);
  const close = (): void => {
    peerPidfd?.close();
    endpoint.close();
  };
  return {
    peer: peer.credentials,
    peerPidfd,
    peerPidfdFromSocket: peer.pidfdFromSocket,
    get closed() {
      return endpoint.closed;
    },
    // An async function, so that a failure is a rejection, too; the packet is handed over before it returns.
    async send(bytes, fds = []) {
      if (endpoint.closed) throw failure(constants.errno.EBADF, 'sendmsg', `${object} (closed)`);
      const numbers = fds.map((fd) => (typeof fd === 'number' ? fd : fd.fd));
      await endpoint.request<undefined>(
        (request) => all.native.send(socket, request, bytes, numbers),
        () => undefined,
        (_resolve, reject) => reject(failure(constants.errno.ECANCELED, 'sendmsg', `${object} (closed)`)),
      );
    },
    receive({ maxBytes = defaultMaxBytes, maxFds = 0 } = {}) {
      return endpoint.next(
        'recvmsg',
        (request) => all.native.receive(socket, request, maxBytes, maxFds),
        (completion) => (completion.kind === 'received' ? packetOf(completion.packet) : undefined),
      );
    },
    endSending: () => systemCall(() => all.native.endSending(socket)),
    readable: () => !endpoint.closed && systemCall(() => all.native.readable(socket)),
    close,
    [Symbol.dispose]: close,
  };
}

/**
 * Makes a socket file (mode 0600 from its first moment) and listens on it. A file that a dead process left, on which connect()
 * returns ECONNREFUSED, is replaced; a socket with a listener, or a file of another kind, is not.
 * @throws SystemCallError EADDRINUSE: it is in use, or not a socket; EAGAIN (flock): another process is binding in the same
 * directory at this moment; ENAMETOOLONG: more than 107 bytes.
 */
export function listenSeqpacket(
  path: string,
  { backlog = defaultBacklog, replace = false }: ListenOptions = {},
): SeqpacketListener {
  const all = allSockets();
  const endpoint = new Endpoint(
    all,
    systemCall(() => all.native.listen(path, backlog, replace)),
    path,
  );
  const close = (): void => endpoint.close();
  return {
    path,
    get closed() {
      return endpoint.closed;
    },
    accept: () =>
      endpoint.next(
        'accept4',
        (request) => all.native.accept(endpoint.socket, request),
        (completion) =>
          completion.kind === 'accepted' ? connectionOf(all, completion.socket, completion.peer, path) : undefined,
      ),
    close,
    [Symbol.dispose]: close,
  };
}

/**
 * Connects to a seqpacket listener; it does not wait.
 * @throws SystemCallError ECONNREFUSED: nobody listens; EAGAIN: the listener's queue is full, try again; EPROTOTYPE: a
 * socket of another type.
 */
export function connectSeqpacket(path: string): SeqpacketConnection {
  const all = allSockets();
  const { socket, peer } = systemCall(() => all.native.connect(path));
  return connectionOf(all, socket, peer, path);
}
