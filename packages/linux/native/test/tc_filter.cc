// Attaches a filter that does nothing to the clsact hook of a device, under a name, which tc(8) cannot give one:
// tc-filter <network namespace> <device> <name> <priority> <handle> [egress]
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/netlink.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "native/descriptor.h"
#include "native/failure.h"
#include "packages/linux/native/netlink_socket.h"

namespace {

// "return TC_ACT_UNSPEC": the next filter decides.
Descriptor loadProgram() {
  bpf_insn program[2] = {};
  program[0].code = BPF_ALU64 | BPF_MOV | BPF_K;
  program[0].imm = TC_ACT_UNSPEC;
  program[1].code = BPF_JMP | BPF_EXIT;
  bpf_attr request = {};
  request.prog_type = BPF_PROG_TYPE_SCHED_CLS;
  request.insns = reinterpret_cast<uint64_t>(program);
  request.insn_cnt = 2;
  request.license = reinterpret_cast<uint64_t>("GPL");
  Descriptor loaded(static_cast<int>(syscall(SYS_bpf, BPF_PROG_LOAD, &request, sizeof(request))));
  if (!loaded.valid())
    fail("bpf", "BPF_PROG_LOAD");
  return loaded;
}

void addClsact(int ifindex) {
  tcmsg head = {};
  head.tcm_ifindex = ifindex;
  head.tcm_parent = TC_H_CLSACT;
  head.tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0);
  NetlinkRequest request(RTM_NEWQDISC, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, head);
  request.addText(TCA_KIND, "clsact");
  try {
    changeByNetlink(request, "RTM_NEWQDISC");
  } catch (const Failure &failure) {
    if (failure.error != EEXIST)
      throw;
  }
}

void addFilter(int ifindex, const std::string &name, uint32_t priority, uint32_t handle, bool egress) {
  const Descriptor program = loadProgram();
  tcmsg head = {};
  head.tcm_ifindex = ifindex;
  head.tcm_parent = TC_H_MAKE(TC_H_CLSACT, egress ? TC_H_MIN_EGRESS : TC_H_MIN_INGRESS);
  head.tcm_handle = handle;
  head.tcm_info = TC_H_MAKE(priority << 16, htons(ETH_P_ALL));
  NetlinkRequest request(RTM_NEWTFILTER, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, head);
  request.addText(TCA_KIND, "bpf");
  const size_t options = request.beginNested(TCA_OPTIONS);
  request.addU32(TCA_BPF_FD, static_cast<uint32_t>(program.get()));
  request.addText(TCA_BPF_NAME, name);
  request.addU32(TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
  request.endNested(options);
  changeByNetlink(request, "RTM_NEWTFILTER");
}

uint32_t number(const char *text) {
  return static_cast<uint32_t>(std::strtoul(text, nullptr, 0));
}

} // namespace

int main(int argc, char **argv) {
  if (argc != 6 && argc != 7) {
    std::fprintf(stderr, "usage: %s <network namespace> <device> <name> <priority> <handle> [egress]\n", argv[0]);
    return 2;
  }
  try {
    const Descriptor netns(::open(argv[1], O_RDONLY | O_CLOEXEC));
    if (!netns.valid() || setns(netns.get(), CLONE_NEWNET) < 0)
      fail("setns", argv[1]);
    const unsigned ifindex = if_nametoindex(argv[2]);
    if (ifindex == 0)
      fail("if_nametoindex", argv[2]);
    addClsact(static_cast<int>(ifindex));
    addFilter(static_cast<int>(ifindex), argv[3], number(argv[4]), number(argv[5]), argc == 7);
  } catch (const Failure &failure) {
    std::fprintf(stderr, "%s %s: %s\n", failure.syscall, failure.object.c_str(), std::strerror(failure.error));
    return 1;
  }
}
