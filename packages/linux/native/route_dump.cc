// Layout: struct rtmsg and the RTA_* attributes of linux/rtnetlink.h.
#include "route_dump.h"

#include <linux/rtnetlink.h>
#include <sys/socket.h>

namespace {

// What a route may hold beyond the fields of Route. Null: known, and irrelevant for where packets go.
const char *otherName(uint16_t type) {
  switch (type) {
  case RTA_SRC:
    return "from";
  case RTA_IIF:
    return "iif";
  case RTA_GATEWAY:
  case RTA_VIA:
    return "via";
  case RTA_METRICS:
    return "metrics";
  case RTA_MULTIPATH:
    return "multipath";
  case RTA_FLOW:
    return "realms";
  case RTA_ENCAP:
    return "encap";
  case RTA_NH_ID:
    return "nhid";
  case RTA_ENCAP_TYPE: // it comes with RTA_ENCAP
  case RTA_CACHEINFO:
  case RTA_PREF:
  case RTA_EXPIRES:
  case RTA_PAD:
    return nullptr;
  default:
    return "other";
  }
}

bool readAttribute(const NetlinkItem &attribute, size_t width, Route &route) {
  switch (attribute.type) {
  case RTA_DST:
    if (attribute.size != width)
      return false;
    std::memcpy(route.destination, attribute.value, width);
    return true;
  case RTA_PREFSRC:
    if (attribute.size != width)
      return false;
    std::memcpy(route.source, attribute.value, width);
    route.hasSource = true;
    return true;
  case RTA_TABLE:
    return copyExactly(attribute, route.table);
  case RTA_OIF:
    return copyExactly(attribute, route.ifindex);
  case RTA_PRIORITY:
    return copyExactly(attribute, route.metric);
  default:
    if (const char *name = otherName(attribute.type))
      route.others.push_back(name);
    return true;
  }
}

} // namespace

bool readRoute(const NetlinkItem &message, std::vector<Route> &found) {
  if (message.type != RTM_NEWROUTE)
    return true;
  rtmsg head;
  if (!copyHead(message.value, message.size, head))
    return false;
  if ((head.rtm_family != AF_INET && head.rtm_family != AF_INET6) || (head.rtm_flags & RTM_F_CLONED))
    return true;
  const size_t width = head.rtm_family == AF_INET ? 4 : 16;
  if (head.rtm_dst_len > width * 8)
    return false;
  Route route = {};
  route.family = width == 4 ? 4 : 6;
  route.type = head.rtm_type;
  route.protocol = head.rtm_protocol;
  route.scope = head.rtm_scope;
  route.prefixLength = head.rtm_dst_len;
  route.table = head.rtm_table; // RTA_TABLE has numbers that do not fit here
  if (head.rtm_tos != 0)
    route.others.push_back("tos");
  const auto visit = [&](const NetlinkItem &attribute) { return readAttribute(attribute, width, route); };
  if (!forEachAttribute(message.value + sizeof(head), message.size - sizeof(head), visit))
    return false;
  found.push_back(std::move(route));
  return true;
}
