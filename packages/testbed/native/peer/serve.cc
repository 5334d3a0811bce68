// peer serve: the application of a pod. It answers every connection with one line that says who accepted it and where;
// with --echo it then sends back what it gets, for as long as the client likes.
#include "answering.h"
#include "commands.h"
#include "json.h"
#include "options.h"
#include <netinet/tcp.h>

namespace {
constexpr int BACKLOG = 4096;
constexpr int FASTOPEN_QUEUE = 256;

Descriptor listen_on(const std::string &bind_ip, uint16_t port, bool reuse_address) {
  const Address address = parse_ip(bind_ip, port);
  Descriptor fd(socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd.get() < 0)
    fail("socket");
  const int on = 1, off = 0;
  if (reuse_address)
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
} // namespace

int run_serve(int argc, char **argv) {
  const Options options(argc, argv, {"echo", "no-reuse-address"});
  const bool echo = options.has("echo");
  const std::string name = options.need("name");
  Answering answering(
      [&name, echo](int connection, uint16_t port) {
        JsonLine line;
        line.text("by", name)
            .number("port", port)
            .text("peer", to_text(unmapped(peer_address(connection))))
            .text("local", to_text(unmapped(local_address(connection))));
        if (echo)
          line.boolean("echo", true);
        return line.str();
      },
      echo);
  for (const uint16_t port : parse_ports(options.need("port")))
    answering.add(listen_on(options.get("bind", "::"), port, !options.has("no-reuse-address")), port);
  answering.run();
}
