/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the generator has to refuse by name. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct with_bit_field {
  __u32 low : 4;
  __u32 high : 28;
};

struct with_union {
  __u32 kind;
  union {
    __u32 number;
    __u8 bytes[4];
  } either;
};

struct with_pointer {
  __u64 id;
  void *pointer;
};

#define EXPORT(name) const struct name *const volatile export_##name = 0
EXPORT(with_bit_field);
EXPORT(with_union);
EXPORT(with_pointer);

char LICENSE[] SEC("license") = "Dual BSD/GPL";
