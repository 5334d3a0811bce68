// Parses rtnetlink's policy rules (RTM_NEWRULE). It uses no sockets, so that it can be fuzzed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "netlink_message.h"

struct PolicyRule {
  uint8_t family; // 4 or 6
  uint8_t action; // enum of linux/fib_rules.h (FR_ACT_*)
  uint8_t protocol;
  uint32_t priority;
  uint32_t table;
  uint32_t mark;
  uint32_t mask;
  std::vector<std::string> others; // the names of its other attributes
};

// Appends the rule of one message. False if the message is malformed; messages of other families are skipped.
bool readRule(const NetlinkItem &message, std::vector<PolicyRule> &found);
