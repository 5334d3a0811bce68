/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A map of every type that Sluice uses, variables to override, and a program that fills the ring buffer on request. */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#define RING_BYTES (1 << 20)

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4);
  __type(key, __u64);
  __type(value, __u32);
} small_hash SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);
  __type(key, __u32);
  __type(value, __u32);
} large_hash SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 3);
  __type(key, __u32);
  __type(value, __u32);
} per_cpu SEC(".maps");

struct prefix {
  __u32 length;
  __u8 address[4];
};

struct {
  __uint(type, BPF_MAP_TYPE_LPM_TRIE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 64);
  __type(key, struct prefix);
  __type(value, __u32);
} prefixes SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, __u64);
} sockets SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_SOCKHASH);
  __uint(max_entries, 8);
  __type(key, __u32);
  __type(value, __u64);
} listeners SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, RING_BYTES);
} records SEC(".maps");

const volatile __u16 port = 80;
const volatile __s32 offset = -1;
const volatile bool enabled = false;
const volatile __u64 mask = 0;

struct variables {
  __u64 mask;
  __s32 offset;
  __u16 port;
  __u8 enabled;
};

/* Writes the variables as the program sees them into its argument. */
SEC("syscall")
int read_variables(struct variables *out) {
  out->mask = mask;
  out->offset = offset;
  out->port = port;
  out->enabled = enabled;
  return 0;
}

struct request {
  __u64 first;
  __u32 count;
  __u32 refused; /* out: by the full ring */
};

struct record {
  __u64 sequence;
  __u64 twice;
};

/* Submits count records with sequence numbers from first on. */
SEC("syscall")
int submit(struct request *request) {
  for (__u32 i = 0; i < 4096; i++) {
    if (i >= request->count)
      break;
    struct record *record = bpf_ringbuf_reserve(&records, sizeof(*record), 0);
    if (!record) {
      request->refused++;
      continue;
    }
    record->sequence = request->first + i;
    record->twice = record->sequence * 2;
    bpf_ringbuf_submit(record, 0);
  }
  return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
