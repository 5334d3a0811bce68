// Layout: struct tcmsg and the TCA_* attributes of linux/rtnetlink.h; TCA_BPF_* of linux/pkt_cls.h.
#include "tc_dump.h"

#include <arpa/inet.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

namespace {

std::string hexadecimal(const NetlinkItem &item) {
  static const char digits[] = "0123456789abcdef";
  std::string text;
  for (size_t i = 0; i < item.size; i++) {
    text += digits[item.value[i] >> 4];
    text += digits[item.value[i] & 0xf];
  }
  return text;
}

bool readBpfOption(const NetlinkItem &option, TcFilter &filter) {
  uint32_t flags = 0;
  switch (option.type) {
  case TCA_BPF_NAME:
    filter.programName = textOf(option);
    return true;
  case TCA_BPF_TAG:
    if (option.size != 8) // BPF_TAG_SIZE
      return false;
    filter.programTag = hexadecimal(option);
    return true;
  case TCA_BPF_ID:
    return copyExactly(option, filter.programId);
  case TCA_BPF_FLAGS:
    if (!copyExactly(option, flags))
      return false;
    filter.directAction = flags & TCA_BPF_FLAG_ACT_DIRECT;
    return true;
  default:
    return true;
  }
}

} // namespace

bool readQdisc(const NetlinkItem &message, std::vector<Qdisc> &found) {
  if (message.type != RTM_NEWQDISC)
    return true;
  tcmsg head;
  if (!copyHead(message.value, message.size, head))
    return false;
  Qdisc qdisc{head.tcm_ifindex, head.tcm_handle, head.tcm_parent, ""};
  const auto visit = [&](const NetlinkItem &attribute) {
    if (attribute.type == TCA_KIND)
      qdisc.kind = textOf(attribute);
    return true;
  };
  if (!forEachAttribute(message.value + sizeof(head), message.size - sizeof(head), visit))
    return false;
  found.push_back(std::move(qdisc));
  return true;
}

bool readTcFilter(const NetlinkItem &message, std::vector<TcFilter> &found) {
  if (message.type != RTM_NEWTFILTER)
    return true;
  tcmsg head;
  if (!copyHead(message.value, message.size, head))
    return false;
  TcFilter filter = {};
  filter.ifindex = head.tcm_ifindex;
  filter.handle = head.tcm_handle;
  filter.priority = static_cast<uint16_t>(TC_H_MAJ(head.tcm_info) >> 16);
  filter.protocol = ntohs(static_cast<uint16_t>(TC_H_MIN(head.tcm_info)));
  // The meaning of the options depends on the kind, which may come later.
  NetlinkItem options = {};
  const auto visit = [&](const NetlinkItem &attribute) {
    if (attribute.type == TCA_KIND)
      filter.kind = textOf(attribute);
    else if (attribute.type == TCA_OPTIONS)
      options = attribute;
    else if (attribute.type == TCA_CHAIN)
      return copyExactly(attribute, filter.chain);
    return true;
  };
  if (!forEachAttribute(message.value + sizeof(head), message.size - sizeof(head), visit))
    return false;
  const auto visitOption = [&](const NetlinkItem &option) { return readBpfOption(option, filter); };
  if (filter.kind == "bpf" && !forEachAttribute(options.value, options.size, visitOption))
    return false;
  found.push_back(std::move(filter));
  return true;
}
