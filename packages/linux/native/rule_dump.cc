// Layout: struct fib_rule_hdr and the FRA_* attributes of linux/fib_rules.h.
#include "rule_dump.h"

#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

namespace {

// The value of the FRA_SUPPRESS_* attributes that means "do not" (fib_nl_fill_rule of net/core/fib_rules.c).
constexpr uint32_t notSuppressed = 0xffffffff;

// What a rule may hold beyond the fields of PolicyRule. Null: known, and irrelevant.
const char *otherName(uint16_t type) {
  switch (type) {
  case FRA_DST:
    return "to";
  case FRA_SRC:
    return "from";
  case FRA_IIFNAME:
    return "iif";
  case FRA_OIFNAME:
    return "oif";
  case FRA_GOTO:
    return "goto";
  case FRA_FLOW:
    return "realms";
  case FRA_TUN_ID:
    return "tun_id";
  case FRA_UID_RANGE:
    return "uidrange";
  case FRA_IP_PROTO:
    return "ipproto";
  case FRA_SPORT_RANGE:
    return "sport";
  case FRA_DPORT_RANGE:
    return "dport";
  case FRA_PAD:
    return nullptr;
  default:
    return "other";
  }
}

bool readAttribute(const NetlinkItem &attribute, PolicyRule &rule) {
  uint32_t number = 0;
  uint8_t byte = 0;
  switch (attribute.type) {
  case FRA_TABLE:
    return copyExactly(attribute, rule.table);
  case FRA_PRIORITY:
    return copyExactly(attribute, rule.priority);
  case FRA_FWMARK:
    return copyExactly(attribute, rule.mark);
  case FRA_FWMASK:
    return copyExactly(attribute, rule.mask);
  case FRA_PROTOCOL:
    return copyExactly(attribute, rule.protocol);
  case FRA_SUPPRESS_PREFIXLEN:
  case FRA_SUPPRESS_IFGROUP:
    if (!copyExactly(attribute, number))
      return false;
    if (number != notSuppressed)
      rule.others.push_back("suppress");
    return true;
  case FRA_L3MDEV:
    if (!copyExactly(attribute, byte))
      return false;
    if (byte != 0)
      rule.others.push_back("l3mdev");
    return true;
  default:
    if (const char *name = otherName(attribute.type))
      rule.others.push_back(name);
    return true;
  }
}

} // namespace

bool readRule(const NetlinkItem &message, std::vector<PolicyRule> &found) {
  if (message.type != RTM_NEWRULE)
    return true;
  fib_rule_hdr head;
  if (!copyHead(message.value, message.size, head))
    return false;
  if (head.family != AF_INET && head.family != AF_INET6)
    return true;
  PolicyRule rule = {};
  rule.family = head.family == AF_INET ? 4 : 6;
  rule.action = head.action;
  rule.table = head.table; // FRA_TABLE has numbers that do not fit here
  if (head.flags & FIB_RULE_INVERT)
    rule.others.push_back("not");
  if (head.tos != 0)
    rule.others.push_back("tos");
  const auto visit = [&](const NetlinkItem &attribute) { return readAttribute(attribute, rule); };
  if (!forEachAttribute(message.value + sizeof(head), message.size - sizeof(head), visit))
    return false;
  found.push_back(std::move(rule));
  return true;
}
