// See inpod_workload.h.
#include "inpod_workload.h"
#include "ztunnel_sockets.h"
#include <cerrno>
#include <future>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace {
// One socket of the workload, and what is done when something waits at it.
struct Door {
  enum class Kind { tcp, dns_udp, dns_tcp };
  Kind kind;
  uint16_t port;
  Descriptor fd;
};

std::vector<Door> open_doors(const InPodWorkloadOptions &options) {
  std::vector<Door> doors;
  for (const uint16_t port : options.service.ports)
    doors.push_back({Door::Kind::tcp, port, ztunnel_listener(parse_ip("::", port), options.service.original_source)});
  if (!options.dns)
    return doors;
  for (const char *ip : {"127.0.0.1", "::1"}) {
    if (parse_ip(ip, 0).family() == AF_INET6 && !is_own_address(parse_ip(ip, 0)))
      continue; // as ztunnel's dns/server.rs
    doors.push_back({Door::Kind::dns_udp, DNS_PORT, ztunnel_datagram_socket(parse_ip(ip, DNS_PORT))});
    doors.push_back({Door::Kind::dns_tcp, DNS_PORT, ztunnel_listener(parse_ip(ip, DNS_PORT), false)});
  }
  return doors;
}

void attend(const Door &door, const std::shared_ptr<const ZtunnelService> &service,
            const std::shared_ptr<const DnsService> &dns) {
  switch (door.kind) {
  case Door::Kind::tcp:
    return accept_waiting(door.fd.get(), door.port, service);
  case Door::Kind::dns_udp:
    return answer_waiting_datagrams(door.fd.get(), *dns);
  case Door::Kind::dns_tcp:
    return accept_waiting_dns(door.fd.get(), dns);
  }
}

// Each thread has a network namespace of its own (setns(2)), which the threads that it starts inherit. So every dial on
// behalf of the workload leaves from there.
void live(const InPodWorkloadOptions &options, int netns, int stopping, std::promise<void> opened) {
  std::vector<Door> doors;
  try {
    if (setns(netns, CLONE_NEWNET) != 0)
      fail("enter the network namespace");
    doors = open_doors(options);
  } catch (...) {
    return opened.set_exception(std::current_exception());
  }
  opened.set_value(); // from here on the caller's descriptor may be closed
  const auto service = std::make_shared<const ZtunnelService>(options.service);
  // The addresses that ztunnel gives to names for which the mesh has no address: 240.240.0.0/16 and 2001:2::/48
  // (Istio's address allocation).
  const auto dns = std::make_shared<const DnsService>(
      DnsService{options.service.name, options.service.pod, "240.240.0.1", "2001:2::f0f0:1"});
  std::vector<pollfd> items;
  for (const Door &door : doors)
    items.push_back({door.fd.get(), POLLIN, 0});
  items.push_back({stopping, POLLIN, 0});
  do {
    if (poll(items.data(), items.size(), -1) < 0)
      continue;
    // When it is time to stop, connections that the kernel has accepted are taken before the listeners close. ztunnel
    // does not do that, but otherwise a test could not tell a connection broken by this race from one that was lost.
    for (size_t i = 0; i < doors.size(); i++)
      if (items[i].revents != 0 || items.back().revents != 0)
        attend(doors[i], service, dns);
  } while (items.back().revents == 0);
}
} // namespace

InPodWorkload::InPodWorkload(InPodWorkloadOptions options, const Descriptor &netns)
    : options_(std::move(options)), stopping_(eventfd(0, EFD_CLOEXEC)) {
  if (fstat(netns.get(), &identity_) != 0 || stopping_.get() < 0)
    fail("look at the network namespace");
  std::promise<void> opened;
  std::future<void> result = opened.get_future();
  thread_ = std::thread(live, std::cref(options_), netns.get(), stopping_.get(), std::move(opened));
  try {
    result.get();
  } catch (...) {
    thread_.join();
    throw;
  }
}

InPodWorkload::~InPodWorkload() {
  stop_accepting();
}

bool InPodWorkload::is_in(const Descriptor &netns) const {
  struct stat other {};
  return fstat(netns.get(), &other) == 0 && other.st_dev == identity_.st_dev && other.st_ino == identity_.st_ino;
}

void InPodWorkload::stop_accepting() {
  if (!thread_.joinable())
    return;
  const uint64_t one = 1;
  if (write(stopping_.get(), &one, sizeof one) != sizeof one)
    fail("stop a workload");
  thread_.join();
}
