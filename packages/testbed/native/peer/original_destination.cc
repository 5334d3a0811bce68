// SO_ORIGINAL_DST as ztunnel reads it; see original_destination.h.
#include "original_destination.h"

namespace {
// SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST (linux/netfilter_ipv4.h, netfilter_ipv6/ip6_tables.h): both are 80.
constexpr int ORIGINAL_DST = 80;
static_assert(sizeof(sockaddr_storage) == 128, "ztunnel's buffer is a whole sockaddr_storage");

bool ask(int fd, int level, Address &answer) {
  answer.length = sizeof answer.storage;
  if (getsockopt(fd, level, ORIGINAL_DST, &answer.storage, &answer.length) != 0)
    return false;
  return answer.family() == AF_INET || answer.family() == AF_INET6;
}
} // namespace

OriginalDestination original_destination(int fd) {
  Address answer;
  if (ask(fd, SOL_IP, answer))
    return {unmapped(answer), "SOL_IP"};
  answer = {};
  if (ask(fd, SOL_IPV6, answer))
    return {unmapped(answer), "SOL_IPV6"};
  return {unmapped(local_address(fd)), "local"};
}
