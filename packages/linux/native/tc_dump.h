// Parses rtnetlink's queueing disciplines and filters (RTM_NEWQDISC, RTM_NEWTFILTER). It uses no sockets, so that it
// can be fuzzed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "netlink_message.h"

struct Qdisc {
  int32_t ifindex;
  uint32_t handle;
  uint32_t parent;
  std::string kind;
};

// A filter, or the head of a list of filters (one per priority), which has no handle and no options.
struct TcFilter {
  int32_t ifindex;
  uint32_t handle;
  uint16_t priority;
  uint16_t protocol; // EtherType, host order
  uint32_t chain;
  std::string kind;
  // Only for kind "bpf".
  std::string programName;
  std::string programTag; // eight bytes as hexadecimal text
  uint32_t programId;
  bool directAction;
};

// Both append what one message contains, and return false if it is malformed.
bool readQdisc(const NetlinkItem &message, std::vector<Qdisc> &found);
bool readTcFilter(const NetlinkItem &message, std::vector<TcFilter> &found);
