/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Programs that follow the kernel: two tracepoints, and an iterator over the TCP sockets of a network namespace. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define KERNEL __attribute__((preserve_access_index))
struct seq_file;
struct bpf_iter_meta {
  struct seq_file *seq;
} KERNEL;
struct sock_common {
  unsigned char skc_state;
} KERNEL;
struct bpf_iter__tcp {
  struct bpf_iter_meta *meta;
  struct sock_common *sk_common;
} KERNEL;

/* Runs, by tracepoint: 0 of the system call, 1 of the cgroup. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 2);
  __type(key, __u32);
  __type(value, __u64);
} runs SEC(".maps");

static __always_inline int count_run(__u32 index) {
  __u64 *count = bpf_map_lookup_elem(&runs, &index);

  if (count)
    __sync_fetch_and_add(count, 1);
  return 0;
}

SEC("tp/syscalls/sys_enter_openat")
int see_openat(void *ctx) {
  (void)ctx;
  return count_run(0);
}

SEC("tp_btf/cgroup_mkdir")
int see_cgroup(__u64 *ctx) {
  (void)ctx;
  return count_run(1);
}

SEC("iter/tcp")
int list_states(struct bpf_iter__tcp *ctx) {
  struct sock_common *sk = ctx->sk_common;

  if (sk) {
    unsigned char state = sk->skc_state;

    bpf_seq_write(ctx->meta->seq, &state, sizeof(state));
  }
  return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
