// Programs for a clsact hook: what a pod's loopback does to ztunnel's mark, and two that only exist.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

// Istio's numbers: ztunnel marks its packets 0x539, and what has 0x111 is routed back to it.
#define MARK_MASK    0xfff
#define ZTUNNEL_MARK 0x539
#define REPLY_MARK   0x111

SEC("tc")
int rewrite_mark(struct __sk_buff *packet) {
  if ((packet->mark & MARK_MASK) == ZTUNNEL_MARK)
    packet->mark = (packet->mark & ~MARK_MASK) | REPLY_MARK;
  return TC_ACT_UNSPEC; // and on to the next filter
}

SEC("tc")
int pass_first(struct __sk_buff *packet) {
  return packet->len == 0 ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

SEC("tc")
int pass_second(struct __sk_buff *packet) {
  return packet->len == 1 ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

// Of no use to a clsact hook.
SEC("socket")
int not_a_classifier(struct __sk_buff *packet) {
  return (int)packet->len;
}

char LICENSE[] SEC("license") = "GPL";
