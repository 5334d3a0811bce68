/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A program that gives its map to a helper that Sluice's programs do not use. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
  __uint(type, BPF_MAP_TYPE_STACK);
  __uint(max_entries, 8);
  __uint(value_size, sizeof(__u64));
} values SEC(".maps");

SEC("cgroup/connect4")
int pushes(struct bpf_sock_addr *ctx) {
  __u64 value = 1;

  (void)ctx;
  bpf_map_push_elem(&values, &value, BPF_ANY);
  return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
