/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A program whose map is looked at by a function that is not inlined. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} values SEC(".maps");

static __noinline __u64 *look(void) {
  __u32 key = 0;

  return bpf_map_lookup_elem(&values, &key);
}

SEC("cgroup/connect4")
int calls(struct bpf_sock_addr *ctx) {
  (void)ctx;
  return look() != NULL;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
