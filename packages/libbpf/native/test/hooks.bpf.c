/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Programs to attach: two of one type, to be exchanged, one of another, and one for a network namespace. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("cgroup/connect4")
int allow_connect4(struct bpf_sock_addr *ctx) {
  (void)ctx;
  return 1;
}

SEC("cgroup/connect4")
int refuse_connect4(struct bpf_sock_addr *ctx) {
  (void)ctx;
  return 0;
}

SEC("cgroup/connect6")
int allow_connect6(struct bpf_sock_addr *ctx) {
  (void)ctx;
  return 1;
}

SEC("sk_lookup")
int pass_lookup(struct bpf_sk_lookup *ctx) {
  (void)ctx;
  return SK_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
