// A socket that listens and answers nobody.
import { systemCall } from './errors.js';
import { native } from './native.js';
import { OwnedFd } from './seqpacket.js';

/**
 * A TCP socket, for IPv4 and IPv6, that listens in a network namespace of its own and discards all that it gets, without an
 * answer: a client that is led here sends its SYN again and again. Nothing but BPF (`bpf_sk_assign`) leads here, because the
 * namespace has no address, and nobody else can enter it. The namespace lasts as long as the socket.
 * @throws SystemCallError EPERM without CAP_SYS_ADMIN; ENOSPC when there are too many namespaces.
 */
export function silentListener(): OwnedFd {
  return new OwnedFd(systemCall(() => native.silentListener()));
}
