// peer dns: a DNS server on the addresses given, UDP and TCP, with one answer for every name.
#include "commands.h"
#include "dns_service.h"
#include "options.h"
#include "report.h"
#include "sockets.h"
#include <poll.h>

namespace {
constexpr int BACKLOG = 128;

Descriptor bound_socket(const Address &at, int type) {
  Descriptor fd(socket(at.family(), type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (fd.get() < 0)
    fail("socket");
  const int on = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd.get(), at.raw(), at.length) != 0)
    fail("bind " + to_text(at));
  if (type == SOCK_STREAM && listen(fd.get(), BACKLOG) != 0)
    fail("listen " + to_text(at));
  return fd;
}
} // namespace

int run_dns(int argc, char **argv) {
  const Options options(argc, argv, {});
  const auto service = std::make_shared<const DnsService>(
      DnsService{options.need("name"), "", options.need("answer4"), options.need("answer6")});
  // One socket for each address, so that a reply comes from the address that was asked.
  std::vector<Descriptor> sockets;
  std::vector<pollfd> items;
  for (const std::string &at : options.all("at"))
    for (const int type : {SOCK_DGRAM, SOCK_STREAM}) {
      sockets.push_back(bound_socket(parse_address(at), type));
      items.push_back({sockets.back().get(), POLLIN, 0});
    }
  report("ready");
  for (;;) {
    if (poll(items.data(), items.size(), -1) < 0)
      continue;
    for (size_t i = 0; i < items.size(); i++) {
      if (items[i].revents == 0)
        continue;
      if (i % 2 == 0)
        answer_waiting_datagrams(items[i].fd, *service);
      else
        accept_waiting_dns(items[i].fd, service);
    }
  }
}
