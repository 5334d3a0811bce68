/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Programs that no kernel loads: one calls a helper for other programs, the other one a helper that does not exist. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} values SEC(".maps");

static long (*const newer_helper)(void) = (void *)99999;

SEC("cgroup/connect4")
int misplaced(struct bpf_sock_addr *ctx) {
  __u32 key = ctx->user_ip4;

  return bpf_map_lookup_elem(&values, &key) && bpf_sock_ops_cb_flags_set((void *)ctx, 0) == 0;
}

SEC("cgroup/connect6")
int newer(struct bpf_sock_addr *ctx) {
  (void)ctx;
  return newer_helper() == 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
