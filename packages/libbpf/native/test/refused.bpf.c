/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One program that the verifier accepts and one that it refuses: it uses a value without checking that it exists. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} values SEC(".maps");

SEC("cgroup/connect4")
int sound(struct bpf_sock_addr *ctx) {
  (void)ctx;
  return 1;
}

SEC("cgroup/connect4")
int unsound(struct bpf_sock_addr *ctx) {
  __u32 key = ctx->user_ip4;
  __u64 *value = bpf_map_lookup_elem(&values, &key);

  return *value == 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
