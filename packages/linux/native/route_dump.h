// Parses rtnetlink's routes (RTM_NEWROUTE). It uses no sockets, so that it can be fuzzed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "netlink_message.h"

struct Route {
  uint8_t family; // 4 or 6
  uint8_t type;   // RTN_* of linux/rtnetlink.h
  uint8_t protocol;
  uint8_t scope; // enum rt_scope_t; always 0 for IPv6
  uint8_t prefixLength;
  uint8_t destination[16]; // network order; IPv4 uses the first four
  uint8_t source[16];      // the same
  bool hasSource;          // whether it has a preferred source address (RTA_PREFSRC)
  uint32_t table;
  uint32_t metric;
  uint32_t ifindex;                // 0 if none
  std::vector<std::string> others; // the names of its other attributes
};

// Appends the route of one message. False if the message is malformed; messages of other families and entries of the
// kernel's cache are skipped.
bool readRoute(const NetlinkItem &message, std::vector<Route> &found);
