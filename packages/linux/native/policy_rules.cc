// RTM_GETRULE, RTM_NEWRULE and RTM_DELRULE for rules that send marked packets to a table, or nowhere.
#include "policy_rules.h"

#include <climits>

#include <linux/fib_rules.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "arguments.h"
#include "native/netns_thread.h"
#include "netlink_socket.h"
#include "rule_dump.h"

namespace {

Napi::Object ruleObject(Napi::Env env, const PolicyRule &rule) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("family", static_cast<double>(rule.family));
  object.Set("priority", rule.priority);
  object.Set("table", rule.table);
  object.Set("mark", rule.mark);
  object.Set("mask", rule.mask);
  object.Set("protocol", static_cast<double>(rule.protocol));
  object.Set("action", static_cast<double>(rule.action));
  Napi::Array others = Napi::Array::New(env, rule.others.size());
  for (uint32_t i = 0; i < rule.others.size(); i++)
    others.Set(i, rule.others[i]);
  object.Set("others", others);
  return object;
}

} // namespace

Napi::Value netnsRules(const Napi::CallbackInfo &info) {
  const int netns = static_cast<int>(integerArgument(info, 0, "netnsFd", 0, INT_MAX));
  const std::string path = textArgument(info, 1, "netnsPath");
  std::vector<PolicyRule> rules;
  insideNetns(netns, path, [&] {
    fib_rule_hdr head = {};
    head.family = AF_UNSPEC; // also right if the kernel has no IPv6 at all
    NetlinkRequest request(RTM_GETRULE, NLM_F_DUMP, head);
    dumpByNetlink(
        request, path + " (RTM_GETRULE)", [&] { rules.clear(); },
        [&](const NetlinkItem &message) { return readRule(message, rules); });
  });
  Napi::Array result = Napi::Array::New(info.Env(), rules.size());
  for (uint32_t i = 0; i < rules.size(); i++)
    result.Set(i, ruleObject(info.Env(), rules[i]));
  return result;
}

void changeRule(const Napi::CallbackInfo &info) {
  const int netns = static_cast<int>(integerArgument(info, 0, "netnsFd", 0, INT_MAX));
  const std::string path = textArgument(info, 1, "netnsPath");
  const bool add = info[2].ToBoolean();
  const int64_t family = integerArgument(info, 3, "family", 4, 6);
  const auto priority = static_cast<uint32_t>(integerArgument(info, 4, "priority", 1, UINT32_MAX));
  const auto table = static_cast<uint32_t>(integerArgument(info, 5, "table", 0, UINT32_MAX));
  const auto mark = static_cast<uint32_t>(integerArgument(info, 6, "fwmark.value", 0, UINT32_MAX));
  const auto mask = static_cast<uint32_t>(integerArgument(info, 7, "fwmark.mask", 0, UINT32_MAX));
  const auto protocol = static_cast<uint8_t>(integerArgument(info, 8, "protocol", 0, UINT8_MAX));
  const auto action = static_cast<uint8_t>(integerArgument(info, 9, "action", 0, UINT8_MAX));

  fib_rule_hdr head = {};
  head.family = family == 4 ? AF_INET : AF_INET6;
  head.action = action;
  // NLM_F_EXCL: without it the kernel adds the same rule again and again.
  const uint16_t flags = add ? NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL : NLM_F_ACK;
  NetlinkRequest request(add ? RTM_NEWRULE : RTM_DELRULE, flags, head);
  request.addU32(FRA_PRIORITY, priority);
  if (table != 0)
    request.addU32(FRA_TABLE, table);
  if (mask != 0) {
    request.addU32(FRA_FWMARK, mark);
    request.addU32(FRA_FWMASK, mask);
  }
  request.addU8(FRA_PROTOCOL, protocol);
  const std::string object = path + (add ? " (RTM_NEWRULE" : " (RTM_DELRULE") + ", IPv" + std::to_string(family) +
                             ", priority " + std::to_string(priority) + ")";
  insideNetns(netns, path, [&] { changeByNetlink(request, object); });
}
