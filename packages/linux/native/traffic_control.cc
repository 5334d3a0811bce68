// RTM_GETQDISC, RTM_DELQDISC for clsact, RTM_GETTFILTER, and RTM_DELTFILTER for BPF programs.
#include "traffic_control.h"

#include <climits>

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/netlink.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include "arguments.h"
#include "native/netns_thread.h"
#include "netlink_socket.h"
#include "tc_dump.h"

namespace {

// The arguments that every call begins with.
struct Device {
  int netns;
  std::string path;
  std::string name;

  explicit Device(const Napi::CallbackInfo &info)
      : netns(static_cast<int>(integerArgument(info, 0, "netnsFd", 0, INT_MAX))),
        path(textArgument(info, 1, "netnsPath")), name(textArgument(info, 2, "interface")) {}

  std::string object(const std::string &what) const { return path + " (" + what + ", " + name + ")"; }

  // Only for a thread inside the namespace.
  int index() const {
    const unsigned ifindex = if_nametoindex(name.c_str());
    if (ifindex == 0)
      fail("if_nametoindex", path + " (" + name + ")");
    return static_cast<int>(ifindex);
  }
};

uint32_t hookOf(bool egress) {
  return TC_H_MAKE(TC_H_CLSACT, egress ? TC_H_MIN_EGRESS : TC_H_MIN_INGRESS);
}

Napi::Object filterObject(Napi::Env env, const TcFilter &filter) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("kind", filter.kind);
  object.Set("priority", static_cast<double>(filter.priority));
  object.Set("protocol", static_cast<double>(filter.protocol));
  object.Set("handle", filter.handle);
  object.Set("chain", filter.chain);
  object.Set("programName", filter.programName);
  object.Set("programTag", filter.programTag);
  object.Set("programId", filter.programId);
  object.Set("directAction", filter.directAction);
  return object;
}

} // namespace

Napi::Value netnsQdiscs(const Napi::CallbackInfo &info) {
  const Device device(info);
  std::vector<Qdisc> qdiscs;
  int ifindex = 0;
  insideNetns(device.netns, device.path, [&] {
    ifindex = device.index();
    tcmsg head = {};
    head.tcm_ifindex = ifindex; // the kernel answers for every device nevertheless
    NetlinkRequest request(RTM_GETQDISC, NLM_F_DUMP, head);
    dumpByNetlink(
        request, device.object("RTM_GETQDISC"), [&] { qdiscs.clear(); },
        [&](const NetlinkItem &message) { return readQdisc(message, qdiscs); });
  });
  Napi::Array result = Napi::Array::New(info.Env());
  for (const Qdisc &qdisc : qdiscs) {
    if (qdisc.ifindex != ifindex)
      continue;
    Napi::Object object = Napi::Object::New(info.Env());
    object.Set("kind", qdisc.kind);
    object.Set("handle", qdisc.handle);
    object.Set("parent", qdisc.parent);
    result.Set(result.Length(), object);
  }
  return result;
}

void deleteClsact(const Napi::CallbackInfo &info) {
  const Device device(info);
  insideNetns(device.netns, device.path, [&] {
    tcmsg head = {};
    head.tcm_ifindex = device.index();
    head.tcm_parent = TC_H_CLSACT;
    head.tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0);
    NetlinkRequest request(RTM_DELQDISC, NLM_F_ACK, head);
    request.addText(TCA_KIND, "clsact");
    changeByNetlink(request, device.object("RTM_DELQDISC clsact"));
  });
}

Napi::Value netnsTcFilters(const Napi::CallbackInfo &info) {
  const Device device(info);
  const bool egress = info[3].ToBoolean();
  std::vector<TcFilter> filters;
  insideNetns(device.netns, device.path, [&] {
    tcmsg head = {};
    head.tcm_ifindex = device.index();
    head.tcm_parent = hookOf(egress);
    NetlinkRequest request(RTM_GETTFILTER, NLM_F_DUMP, head);
    dumpByNetlink(
        request, device.object("RTM_GETTFILTER"), [&] { filters.clear(); },
        [&](const NetlinkItem &message) { return readTcFilter(message, filters); });
  });
  Napi::Array result = Napi::Array::New(info.Env(), filters.size());
  for (uint32_t i = 0; i < filters.size(); i++)
    result.Set(i, filterObject(info.Env(), filters[i]));
  return result;
}

void deleteTcFilter(const Napi::CallbackInfo &info) {
  const Device device(info);
  const bool egress = info[3].ToBoolean();
  const auto priority = static_cast<uint32_t>(integerArgument(info, 4, "priority", 1, UINT16_MAX));
  const auto handle = static_cast<uint32_t>(integerArgument(info, 5, "handle", 1, UINT32_MAX));
  insideNetns(device.netns, device.path, [&] {
    tcmsg head = {};
    head.tcm_ifindex = device.index();
    head.tcm_parent = hookOf(egress);
    head.tcm_handle = handle;
    head.tcm_info = TC_H_MAKE(priority << 16, htons(ETH_P_ALL));
    NetlinkRequest request(RTM_DELTFILTER, NLM_F_ACK, head);
    request.addText(TCA_KIND, "bpf");
    const std::string what =
        std::string("RTM_DELTFILTER, ") + (egress ? "egress" : "ingress") + ", priority " + std::to_string(priority);
    changeByNetlink(request, device.object(what));
  });
}
