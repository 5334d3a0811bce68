// peer serve: the application of a pod. It answers every connection with one line that says who accepted it and where;
// with --echo it then sends back what it gets, for as long as the client likes.
#include "commands.h"
#include "json.h"
#include "options.h"
#include "sockets.h"
#include <cerrno>
#include <cstdio>
#include <map>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

namespace {
constexpr int BACKLOG = 4096;
constexpr int FASTOPEN_QUEUE = 256;

Descriptor listen_on(const std::string &bind_ip, uint16_t port) {
  const Address address = parse_ip(bind_ip, port);
  Descriptor fd(socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd.get() < 0)
    fail("socket");
  const int on = 1, off = 0;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (address.family() == AF_INET6)
    setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  if (bind(fd.get(), address.raw(), address.length) != 0)
    fail("bind " + to_text(address));
  setsockopt(fd.get(), IPPROTO_TCP, TCP_FASTOPEN, &FASTOPEN_QUEUE, sizeof FASTOPEN_QUEUE);
  if (listen(fd.get(), BACKLOG) != 0)
    fail("listen " + to_text(address));
  return fd;
}

void watch(const Descriptor &epoll, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  if (epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event) != 0)
    fail("epoll_ctl");
}

// The line goes out at once. The connection is closed after the client has closed, because close() with unread bytes
// would send RST, which discards the line.
void answer(const Descriptor &epoll, int listener, uint16_t port, const std::string &name, bool echo) {
  for (;;) {
    Descriptor connection(accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (connection.get() < 0)
      return;
    JsonLine line;
    line.text("by", name)
        .number("port", port)
        .text("peer", to_text(unmapped(peer_address(connection.get()))))
        .text("local", to_text(unmapped(local_address(connection.get()))));
    if (echo)
      line.boolean("echo", true);
    send_all(connection.get(), line.str() + "\n");
    if (!echo)
      shutdown(connection.get(), SHUT_WR);
    watch(epoll, connection.release());
  }
}

// Sends back what arrives, or discards it. A client that wants an echo sends more only after it, so nothing is kept.
void take(int connection, bool echo) {
  char buffer[4096];
  for (;;) {
    const ssize_t count = read(connection, buffer, sizeof buffer);
    if (count > 0 && echo)
      send_all(connection, {buffer, static_cast<size_t>(count)});
    if (count > 0 || (count < 0 && errno == EINTR))
      continue;
    if (count < 0 && errno == EAGAIN)
      return;
    close(connection); // leaves the epoll set by itself
    return;
  }
}
} // namespace

int run_serve(int argc, char **argv) {
  const Options options(argc, argv, {"echo"});
  const bool echo = options.has("echo");
  const std::string name = options.need("name");
  const Descriptor epoll(epoll_create1(EPOLL_CLOEXEC));
  std::map<int, uint16_t> port_of;
  for (const uint16_t port : parse_ports(options.need("port"))) {
    const int listener = listen_on(options.get("bind", "::"), port).release();
    port_of[listener] = port;
    watch(epoll, listener);
  }
  puts("ready");
  fflush(stdout);
  for (;;) {
    epoll_event events[64];
    const int count = epoll_wait(epoll.get(), events, 64, -1);
    for (int i = 0; i < count; i++) {
      const auto listener = port_of.find(events[i].data.fd);
      if (listener != port_of.end())
        answer(epoll, listener->first, listener->second, name, echo);
      else
        take(events[i].data.fd, echo);
    }
  }
}
