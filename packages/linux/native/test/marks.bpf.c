// Programs for a clsact hook: one that changes ztunnel's mark as on a pod's loopback, and two that only exist.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

// Istio's numbers: ztunnel marks its packets 0x539, and packets with 0x111 are routed back to it.
#define MARK_MASK    0xfff
#define ZTUNNEL_MARK 0x539
#define REPLY_MARK   0x111

SEC("tc")
int rewrite_mark(struct __sk_buff *packet) {
  if ((packet->mark & MARK_MASK) == ZTUNNEL_MARK)
    packet->mark = (packet->mark & ~MARK_MASK) | REPLY_MARK;
  return TC_ACT_UNSPEC; // continue with the next filter
}

SEC("tc")
int pass_first(struct __sk_buff *packet) {
  return packet->len == 0 ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

SEC("tc")
int pass_second(struct __sk_buff *packet) {
  return packet->len == 1 ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

// A clsact hook cannot use it.
SEC("socket")
int not_a_classifier(struct __sk_buff *packet) {
  return (int)packet->len;
}

char LICENSE[] SEC("license") = "GPL";
