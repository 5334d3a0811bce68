// peer usurp: the first process of a pod without a sandbox. A child stays in the pod's network namespace and dials; the
// process itself leaves for a namespace of a user namespace of its own, and takes the Pod IPs there.
#include "commands.h"
#include "dialling.h"
#include "options.h"
#include "sockets.h"
#include <arpa/inet.h>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

namespace {
// struct in6_ifreq of linux/ipv6.h, whose header does not go together with net/if.h.
struct AddressRequest6 {
  in6_addr address;
  uint32_t prefix;
  int device;
};

void set_up_loopback(int fd) {
  ifreq request{};
  strcpy(request.ifr_name, "lo");
  if (ioctl(fd, SIOCGIFFLAGS, &request) != 0)
    fail("read the flags of lo");
  request.ifr_flags |= IFF_UP;
  if (ioctl(fd, SIOCSIFFLAGS, &request) != 0)
    fail("set lo up");
}

// A second IPv4 address of the loopback has a label of its own.
void take4(const Address &address) {
  const Descriptor fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  set_up_loopback(fd.get());
  ifreq request{};
  strcpy(request.ifr_name, "lo:1");
  memcpy(&request.ifr_addr, address.raw(), sizeof request.ifr_addr);
  if (ioctl(fd.get(), SIOCSIFADDR, &request) != 0)
    fail("take " + to_text(address));
}

void take6(const Address &address) {
  const Descriptor fd(socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  set_up_loopback(fd.get());
  AddressRequest6 request{};
  request.address = reinterpret_cast<const sockaddr_in6 *>(address.raw())->sin6_addr;
  request.prefix = 128;
  request.device = static_cast<int>(if_nametoindex("lo"));
  if (ioctl(fd.get(), SIOCSIFADDR, &request) != 0)
    fail("take " + to_text(address));
}
} // namespace

int run_usurp(int argc, char **argv) {
  const Options options(argc, argv, {});
  const long after_ms = options.number("after", 0);
  if (fork() == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    char stdin_option[] = "--stdin";
    char *arguments[] = {stdin_option};
    return run_dial(1, arguments);
  }
  usleep(static_cast<useconds_t>(after_ms * 1000));
  if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
    fail("unshare the user and the network namespace");
  for (const std::string &ip : options.all("ip")) {
    const Address address = parse_ip(ip, 0);
    if (address.family() == AF_INET)
      take4(address);
    else
      take6(address);
  }
  fputs("taken\n", stderr);
  pause();
  return 0;
}
