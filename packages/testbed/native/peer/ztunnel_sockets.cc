// See ztunnel_sockets.h.
#include "ztunnel_sockets.h"
#include <cerrno>
#include <fcntl.h>
#include <poll.h>

namespace {
constexpr int ZTUNNEL_MARK = 1337; // PACKET_MARK's default in ztunnel's config.rs
constexpr int BACKLOG = 128;       // as ztunnel's listeners (src/inpod/config.rs)
constexpr int DIAL_TIMEOUT_MS = 5000;

void set(int fd, int level, int name, int value, const char *what) {
  if (setsockopt(fd, level, name, &value, sizeof value) != 0)
    fail(std::string("set ") + what);
}

Descriptor bound_socket(const Address &at, int type) {
  Descriptor fd(socket(at.family(), type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (fd.get() < 0)
    fail("socket for " + to_text(at));
  // No SO_REUSEADDR, because ztunnel does not set it: an application that wants its port back meets that.
  set(fd.get(), SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT");
  set(fd.get(), SOL_SOCKET, SO_MARK, ZTUNNEL_MARK, "SO_MARK");
  if (at.family() == AF_INET6)
    set(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 0, "IPV6_V6ONLY");
  if (bind(fd.get(), at.raw(), at.length) != 0)
    fail("bind " + to_text(at));
  return fd;
}

Descriptor blocking(Descriptor fd) {
  fcntl(fd.get(), F_SETFL, fcntl(fd.get(), F_GETFL) & ~O_NONBLOCK);
  return fd;
}

// 0 or an errno.
int bind_to_foreign_address(int fd, Address source) {
  // IP_TRANSPARENT and IP_FREEBIND are one bit each for both families; this level sets them on AF_INET6 sockets, too.
  const int on = 1;
  if (setsockopt(fd, SOL_IP, IP_TRANSPARENT, &on, sizeof on) != 0 ||
      setsockopt(fd, SOL_IP, IP_FREEBIND, &on, sizeof on) != 0)
    return errno;
  source.set_port(0);
  return bind(fd, source.raw(), source.length) == 0 ? 0 : errno;
}

int connect_in_time(int fd, const Address &to) {
  if (connect(fd, to.raw(), to.length) == 0)
    return 0;
  if (errno != EINPROGRESS)
    return errno;
  if (!wait_for(fd, POLLOUT, now_ms() + DIAL_TIMEOUT_MS))
    return ETIMEDOUT;
  int error = 0;
  socklen_t length = sizeof error;
  return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}
} // namespace

Descriptor ztunnel_listener(const Address &at, bool transparent) {
  Descriptor fd = bound_socket(at, SOCK_STREAM);
  if (listen(fd.get(), BACKLOG) != 0)
    fail("listen " + to_text(at));
  const int on = 1;
  if (transparent)
    setsockopt(fd.get(), SOL_IP, IP_TRANSPARENT, &on, sizeof on);
  return fd;
}

Descriptor ztunnel_datagram_socket(const Address &at) {
  return bound_socket(at, SOCK_DGRAM);
}

bool is_own_address(Address address) {
  const Descriptor fd(socket(address.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
  address.set_port(0);
  return fd.get() >= 0 && bind(fd.get(), address.raw(), address.length) == 0;
}

Descriptor ztunnel_dial(const Address &to, const std::optional<Address> &source) {
  Descriptor fd(socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd.get() < 0)
    return fd;
  setsockopt(fd.get(), SOL_SOCKET, SO_MARK, &ZTUNNEL_MARK, sizeof ZTUNNEL_MARK);
  int error = source ? bind_to_foreign_address(fd.get(), *source) : 0;
  if (error == 0)
    error = connect_in_time(fd.get(), to);
  if (error == 0)
    return blocking(std::move(fd));
  fd = Descriptor();
  errno = error;
  return fd;
}
