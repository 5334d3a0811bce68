// Every way to connect(); see connecting.h.
#include "connecting.h"
#include <cerrno>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdexcept>
#include <sys/time.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262 // linux/in.h
#endif

namespace {
const char FIRST_BYTE = '\n';

struct Name {
  const char *text;
  Method method;
};

const Name names[] = {
    {"plain", Method::plain},       {"nonblock", Method::nonblock},
    {"fastopen", Method::fastopen}, {"fastopen-connect", Method::fastopen_connect},
    {"iouring", Method::iouring},   {"mptcp", Method::mptcp},
    {"udp", Method::udp},
};

// The kernel ends a blocking connect() with EINPROGRESS, or a send with EAGAIN, when SO_SNDTIMEO is over (socket(7)).
void limit_blocking(int fd, long long deadline_ms) {
  const long long left = deadline_ms > now_ms() ? deadline_ms - now_ms() : 1;
  const timeval limit{left / 1000, (left % 1000) * 1000};
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

int blocking_result(ssize_t result) {
  if (result >= 0)
    return 0;
  return errno == EINPROGRESS || errno == EAGAIN ? ETIMEDOUT : errno;
}

// An interrupted connect() goes on by itself, like a non-blocking one (connect(2), EINTR). Here the end of an io_uring
// of an earlier dial interrupts it, which the kernel completes in this thread.
int connect_and_wait(int fd, const Address &to, long long deadline_ms) {
  if (connect(fd, to.raw(), to.length) == 0)
    return 0;
  if (errno == EINPROGRESS && (fcntl(fd, F_GETFL) & O_NONBLOCK) == 0)
    return ETIMEDOUT;
  if (errno != EINPROGRESS && errno != EINTR)
    return errno;
  if (!wait_for(fd, POLLOUT, deadline_ms))
    return ETIMEDOUT;
  // SO_ERROR would report the result, too, but leave the socket connecting: the next connect() would get ECONNABORTED.
  return connect(fd, to.raw(), to.length) == 0 ? 0 : errno;
}

// connect() only stores the address; the first write sends the SYN (tcp(7), TCP_FASTOPEN_CONNECT).
int connect_with_first_write(int fd, const Address &to) {
  const int on = 1;
  if (setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof on) != 0)
    return errno;
  const int error = blocking_result(connect(fd, to.raw(), to.length));
  return error != 0 ? error : blocking_result(send(fd, &FIRST_BYTE, 1, MSG_NOSIGNAL));
}
} // namespace

Method method_of(const std::string &name) {
  for (const Name &known : names)
    if (name == known.text)
      return known.method;
  throw std::runtime_error("'" + name + "' is not a method of connecting");
}

Descriptor socket_for(Method method, int family) {
  if (method == Method::udp)
    return Descriptor(socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const int nonblocking = method == Method::nonblock ? SOCK_NONBLOCK : 0;
  return Descriptor(
      socket(family, SOCK_STREAM | SOCK_CLOEXEC | nonblocking, method == Method::mptcp ? IPPROTO_MPTCP : 0));
}

int connect_by(Method method, int fd, const Address &to, long long deadline_ms) {
  limit_blocking(fd, deadline_ms);
  switch (method) {
  case Method::fastopen:
    return blocking_result(sendto(fd, &FIRST_BYTE, 1, MSG_FASTOPEN | MSG_NOSIGNAL, to.raw(), to.length));
  case Method::fastopen_connect:
    return connect_with_first_write(fd, to);
  case Method::iouring:
    return connect_by_iouring(fd, to, deadline_ms);
  default:
    return connect_and_wait(fd, to, deadline_ms);
  }
}
