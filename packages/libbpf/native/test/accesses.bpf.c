/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Programs that do one thing to one map each, in the ways that a compiler leaves them. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define HASH(name)                                                                                                     \
  struct {                                                                                                             \
    __uint(type, BPF_MAP_TYPE_HASH);                                                                                   \
    __uint(max_entries, 8);                                                                                            \
    __type(key, __u32);                                                                                                \
    __type(value, __u64);                                                                                              \
  } name SEC(".maps")

HASH(first);
HASH(second);

struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, __u64);
} sockets SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 4096);
} records SEC(".maps");

const volatile __u32 key = 1;

static __always_inline __u64 *look(void *map) {
  __u32 copy = key;

  return bpf_map_lookup_elem(map, &copy);
}

SEC("cgroup/connect4")
int is_there(struct bpf_sock_addr *ctx) {
  (void)ctx;
  return look(&first) != NULL;
}

SEC("cgroup/connect4")
int counts(struct bpf_sock_addr *ctx) {
  __u64 *value = look(&first);

  (void)ctx;
  if (value)
    *value += 1;
  return 1;
}

SEC("cgroup/connect4")
int counts_atomically(struct bpf_sock_addr *ctx) {
  __u64 *value = look(&first);

  (void)ctx;
  if (value)
    __sync_fetch_and_add(value, 1);
  return 1;
}

SEC("cgroup/connect4")
int puts_and_deletes(struct bpf_sock_addr *ctx) {
  __u32 at = key;
  __u64 value = 1;

  (void)ctx;
  bpf_map_update_elem(&first, &at, &value, BPF_ANY);
  bpf_map_delete_elem(&second, &at);
  return 1;
}

/* No register survives the barrier, so the pointer is kept on the stack. */
SEC("cgroup/connect4")
int writes_what_was_spilled(struct bpf_sock_addr *ctx) {
  __u64 *value = look(&second);

  (void)ctx;
  asm volatile("" ::: "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9");
  if (value)
    *value = 1;
  return 1;
}

SEC("cgroup/connect4")
int writes_one_of_two(struct bpf_sock_addr *ctx) {
  __u64 *value = ctx->user_port ? look(&first) : look(&second);

  if (value)
    *value = 1;
  return 1;
}

SEC("cgroup/connect4")
int makes_storage(struct bpf_sock_addr *ctx) {
  __u64 *value = ctx->sk ? bpf_sk_storage_get(&sockets, ctx->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE) : NULL;

  if (value)
    *value = 1;
  return 1;
}

SEC("cgroup/connect4")
int reads_storage(struct bpf_sock_addr *ctx) {
  __u64 *value = ctx->sk ? bpf_sk_storage_get(&sockets, ctx->sk, NULL, 0) : NULL;

  return value && *value;
}

SEC("cgroup/connect4")
int counts_in_new_storage(struct bpf_sock_addr *ctx) {
  __u64 *value = ctx->sk ? bpf_sk_storage_get(&sockets, ctx->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE) : NULL;

  if (value)
    *value += 1;
  return 1;
}

SEC("cgroup/connect4")
int reports(struct bpf_sock_addr *ctx) {
  __u64 *record = bpf_ringbuf_reserve(&records, sizeof(*record), 0);

  (void)ctx;
  if (!record)
    return 1;
  *record = 1;
  bpf_ringbuf_submit(record, 0);
  return 1;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
