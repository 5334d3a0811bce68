/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Reads values of hash maps while others write them. An update or a deletion frees the old element at once, and the
 * next update of any key may take it (kernel/bpf/hashtab.c, extra_elems): a value that a lookup has found can turn into
 * another key's. So a value is copied and looked up again, and counts only if both agree.
 *
 * A plain lookup will do where only the presence counts, for an array, whose elements stay where they are, for the
 * values of tries and of sockets' storages, which RCU keeps until the program has ended, for a comparison with the
 * socket's own cookie, which no other key's value has, and for a value of one word that names its key. */
#ifndef SLUICE_READ_H
#define SLUICE_READ_H

#include <stdbool.h>
#include "maps.h"

/* One attempt is enough unless the entry is written at that very moment; the last copy is used as it is. */
#define READ_ATTEMPTS 3

/* size: of the value, in bytes, a multiple of 4. False if there is no such key. */
static __always_inline bool read_value(void *map, const void *key, __u32 *copy, __u32 size) {
#pragma unroll
  for (int attempt = 0; attempt < READ_ATTEMPTS; attempt++) {
    const __u32 *value = bpf_map_lookup_elem(map, key);
    if (!value)
      return false;
    __builtin_memcpy(copy, value, size);

    value = bpf_map_lookup_elem(map, key);
    if (!value)
      return false;
    __u32 changed = 0;
#pragma unroll
    for (__u32 word = 0; word < size / sizeof(__u32); word++)
      changed |= copy[word] ^ value[word];
    if (!changed)
      break;
  }
  return true;
}

#define READ(map, key, copy) read_value(map, key, (__u32 *)(copy), sizeof(*(copy)))

#endif
