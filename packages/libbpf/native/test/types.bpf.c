/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Every C type that the generator supports, in the value of a map: the tests send them through the kernel. */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

enum colour { COLOUR_RED, COLOUR_GREEN = 7, COLOUR_BLUE = 9, COLOUR_AZURE = 9 };

struct point {
  __s16 x;
  /* The compiler adds two bytes of padding here. */
  __s32 y;
};

typedef struct {
  __u8 level;
} unnamed_in_c;

struct every_kind {
  __u8 u8;
  __s8 s8;
  __u16 u16;
  __s16 s16;
  __u32 u32;
  __s32 s32;
  __u64 u64;
  __s64 s64;
  bool flag;
  enum colour colour;
  char text[16];
  __u8 bytes[3];
  __u32 words[4];
  __u16 grid[2][3];
  __u16 many[20];
  bool flags[2];
  struct point point;
  struct point points[2];
  struct {
    __u32 inner_count;
  };
  struct {
    __u16 depth;
  } nested_value;
  unnamed_in_c by_typedef;
  volatile const __u32 qualified;
  __u8 pad[5];
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 64);
  __type(key, struct point);
  __type(value, struct every_kind);
} every_kind_map SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 2);
  __type(key, __u32);
  __type(value, __u32[4]);
} words_map SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(key_size, 6);
  __uint(value_size, 10);
  __uint(max_entries, 8);
} untyped_map SEC(".maps");

/* A record that no map mentions: a pointer in .rodata brings it into the BTF. */
struct sample {
  __u64 sequence;
  __u32 length;
};

const struct sample *const volatile export_sample = 0;

enum outcome { OUTCOME_PASSED, OUTCOME_NOT_ASKED, OUTCOMES };

const enum outcome *const volatile export_outcome = 0;

char LICENSE[] SEC("license") = "Dual BSD/GPL";
