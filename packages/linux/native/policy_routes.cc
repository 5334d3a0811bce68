// RTM_GETROUTE, RTM_NEWROUTE and RTM_DELROUTE for routes to a device, without a gateway, or to nowhere.
#include "policy_routes.h"

#include <array>
#include <climits>

#include <arpa/inet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include "arguments.h"
#include "native/netns_thread.h"
#include "netlink_socket.h"
#include "route_dump.h"

namespace {

struct NamedRoute {
  Route route;
  std::string interfaceName;
};

// An interface's name has a meaning only inside its namespace, so it is read there.
std::vector<NamedRoute> dumpRoutes(const std::string &path, uint32_t table) {
  rtmsg head = {};
  head.rtm_family = AF_UNSPEC; // also right if the kernel has no IPv6 at all
  NetlinkRequest request(RTM_GETROUTE, NLM_F_DUMP, head);
  std::vector<Route> routes;
  dumpByNetlink(
      request, path + " (RTM_GETROUTE)", [&] { routes.clear(); },
      [&](const NetlinkItem &message) { return readRoute(message, routes); });
  std::vector<NamedRoute> named;
  for (Route &route : routes) {
    if (route.table != table)
      continue;
    char name[IF_NAMESIZE] = {};
    if (route.ifindex != 0)
      if_indextoname(route.ifindex, name);
    named.push_back({std::move(route), name});
  }
  return named;
}

std::string addressText(uint8_t family, const uint8_t *bytes) {
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(family == 4 ? AF_INET : AF_INET6, bytes, text, sizeof(text));
  return text;
}

// The bytes of an argument that is an address of the family.
std::array<uint8_t, 16> addressArgument(const Napi::CallbackInfo &info, bool four, const std::string &text,
                                        const char *name) {
  std::array<uint8_t, 16> bytes = {};
  if (inet_pton(four ? AF_INET : AF_INET6, text.c_str(), bytes.data()) != 1)
    throw Napi::TypeError::New(info.Env(), std::string(name) + " must be an address of the route's family");
  return bytes;
}

Napi::Object routeObject(Napi::Env env, const NamedRoute &named) {
  const Route &route = named.route;
  Napi::Object object = Napi::Object::New(env);
  object.Set("family", static_cast<double>(route.family));
  object.Set("type", static_cast<double>(route.type));
  object.Set("protocol", static_cast<double>(route.protocol));
  object.Set("scope", static_cast<double>(route.scope));
  object.Set("destination", addressText(route.family, route.destination));
  object.Set("prefixLength", static_cast<double>(route.prefixLength));
  object.Set("table", route.table);
  object.Set("metric", route.metric);
  object.Set("interface", named.interfaceName);
  if (route.hasSource)
    object.Set("source", addressText(route.family, route.source));
  Napi::Array others = Napi::Array::New(env, route.others.size());
  for (uint32_t i = 0; i < route.others.size(); i++)
    others.Set(i, route.others[i]);
  object.Set("others", others);
  return object;
}

// The scope that the kernel requires of a route (fib_create_info of net/ipv4/fib_semantics.c); IPv6 has none.
uint8_t scopeOf(uint8_t type) {
  switch (type) {
  case RTN_LOCAL:
    return RT_SCOPE_HOST;
  case RTN_UNREACHABLE:
    return RT_SCOPE_UNIVERSE;
  default:
    return RT_SCOPE_LINK;
  }
}

} // namespace

Napi::Value netnsRoutes(const Napi::CallbackInfo &info) {
  const int netns = static_cast<int>(integerArgument(info, 0, "netnsFd", 0, INT_MAX));
  const std::string path = textArgument(info, 1, "netnsPath");
  const auto table = static_cast<uint32_t>(integerArgument(info, 2, "table", 1, UINT32_MAX));
  const std::vector<NamedRoute> routes = insideNetns(netns, path, [&] { return dumpRoutes(path, table); });
  Napi::Array result = Napi::Array::New(info.Env(), routes.size());
  for (uint32_t i = 0; i < routes.size(); i++)
    result.Set(i, routeObject(info.Env(), routes[i]));
  return result;
}

void changeRoute(const Napi::CallbackInfo &info) {
  const int netns = static_cast<int>(integerArgument(info, 0, "netnsFd", 0, INT_MAX));
  const std::string path = textArgument(info, 1, "netnsPath");
  const bool add = info[2].ToBoolean();
  const bool four = integerArgument(info, 3, "family", 4, 6) == 4;
  const auto table = static_cast<uint32_t>(integerArgument(info, 4, "table", 1, UINT32_MAX));
  const auto type = static_cast<uint8_t>(integerArgument(info, 5, "type", 0, UINT8_MAX));
  const std::string destination = textArgument(info, 6, "destination");
  const auto prefixLength = static_cast<uint8_t>(integerArgument(info, 7, "prefixLength", 0, four ? 32 : 128));
  const std::string interface = textArgument(info, 8, "interface");
  const auto metric = static_cast<uint32_t>(integerArgument(info, 9, "metric", 0, UINT32_MAX));
  const auto protocol = static_cast<uint8_t>(integerArgument(info, 10, "protocol", 0, UINT8_MAX));
  const std::string source = textArgument(info, 11, "source");

  const std::array<uint8_t, 16> address = addressArgument(info, four, destination, "destination");
  rtmsg head = {};
  head.rtm_family = four ? AF_INET : AF_INET6;
  head.rtm_dst_len = prefixLength;
  head.rtm_protocol = protocol;
  head.rtm_type = type;
  head.rtm_scope = four ? scopeOf(type) : static_cast<uint8_t>(RT_SCOPE_UNIVERSE);
  const uint16_t flags = add ? NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL : NLM_F_ACK;
  NetlinkRequest request(add ? RTM_NEWROUTE : RTM_DELROUTE, flags, head);
  if (prefixLength != 0)
    request.add(RTA_DST, address.data(), four ? 4 : 16);
  if (!source.empty())
    request.add(RTA_PREFSRC, addressArgument(info, four, source, "source").data(), four ? 4 : 16);
  request.addU32(RTA_TABLE, table);
  if (metric != 0)
    request.addU32(RTA_PRIORITY, metric);
  const std::string object = path + (add ? " (RTM_NEWROUTE, " : " (RTM_DELROUTE, ") + destination + "/" +
                             std::to_string(prefixLength) + (interface.empty() ? "" : " dev " + interface) +
                             (source.empty() ? "" : " src " + source) + " table " + std::to_string(table) + ")";
  insideNetns(netns, path, [&] {
    if (!interface.empty()) {
      const unsigned ifindex = if_nametoindex(interface.c_str());
      if (ifindex == 0)
        fail("if_nametoindex", path + " (" + interface + ")");
      request.addU32(RTA_OIF, ifindex);
    }
    changeByNetlink(request, object);
  });
}
