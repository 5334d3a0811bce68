// One RTM_GETADDR dump over NETLINK_ROUTE, repeated if the kernel says that the tables changed meanwhile.
#include "address_dump.h"

#include <cerrno>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "native/descriptor.h"
#include "native/failure.h"
#include "netlink_retry.h"

namespace {

// The kernel builds dump datagrams of at most 32 KiB (netlink_dump, NLMSG_GOODSIZE); twice that is never too short.
constexpr size_t datagramBytes = 64 * 1024;
// The answer is written by the kernel during the call; only a bug there can leave us without one.
constexpr timeval patience = {5, 0};

void request(int fd, uint32_t sequence, const std::string &object) {
  struct {
    nlmsghdr header;
    ifaddrmsg body;
  } message = {};
  message.header.nlmsg_len = NLMSG_LENGTH(sizeof(ifaddrmsg));
  message.header.nlmsg_type = RTM_GETADDR;
  message.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  message.header.nlmsg_seq = sequence;
  message.body.ifa_family = AF_UNSPEC;
  sockaddr_nl kernel = {};
  kernel.nl_family = AF_NETLINK;
  if (sendto(fd, &message, message.header.nlmsg_len, 0, reinterpret_cast<sockaddr *>(&kernel), sizeof(kernel)) < 0)
    fail("sendto", object + " (RTM_GETADDR)");
}

// One whole dump. False if it has to be repeated.
bool readDump(int fd, uint32_t sequence, const std::string &object, std::vector<Address> &found) {
  std::vector<uint8_t> buffer(datagramBytes);
  for (;;) {
    sockaddr_nl sender = {};
    socklen_t senderLength = sizeof(sender);
    const ssize_t size =
        recvfrom(fd, buffer.data(), buffer.size(), MSG_TRUNC, reinterpret_cast<sockaddr *>(&sender), &senderLength);
    if (size < 0 && errno == EINTR)
      continue;
    if (size < 0 && errno == ENOBUFS)
      return false;
    if (size < 0)
      fail("recvfrom", object + " (RTM_GETADDR)");
    if (static_cast<size_t>(size) > buffer.size())
      throw Failure{"recvfrom", EMSGSIZE, object + " (RTM_GETADDR)"};
    if (sender.nl_pid != 0) // only messages from the kernel count
      continue;
    const DumpStep step = parseAddressDump(buffer.data(), static_cast<size_t>(size), sequence, found);
    switch (step.state) {
    case DumpState::More:
      break;
    case DumpState::Done:
      return true;
    case DumpState::Interrupted:
      return false;
    case DumpState::Failed:
      throw Failure{"recvfrom", step.error, object + " (RTM_GETADDR)"};
    case DumpState::Malformed:
      throw Failure{"recvfrom", EBADMSG, object + " (RTM_GETADDR)"};
    }
  }
}

} // namespace

std::vector<NamedAddress> dumpAddresses(const std::string &object) {
  for (int attempt = 1; attempt <= dumpAttempts; attempt++) {
    pauseBefore(attempt);
    // A fresh socket each time: what is left of an interrupted dump dies with the old one.
    Descriptor socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    if (!socket.valid())
      fail("socket", object + " (NETLINK_ROUTE)");
    if (setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0)
      fail("setsockopt", object + " (SO_RCVTIMEO)");
    const uint32_t sequence = static_cast<uint32_t>(attempt);
    request(socket.get(), sequence, object);
    std::vector<Address> found;
    if (!readDump(socket.get(), sequence, object, found))
      continue;
    std::vector<NamedAddress> named;
    named.reserve(found.size());
    for (Address &address : found) {
      char name[IF_NAMESIZE] = {};
      if (if_indextoname(address.ifindex, name))
        named.push_back({std::move(address), name});
    }
    return named;
  }
  throw Failure{"recvfrom", EAGAIN, object + " (RTM_GETADDR)"};
}
