/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whether a captured network namespace holds an address. */
#ifndef SLUICE_OWN_ADDRESS_H
#define SLUICE_OWN_ADDRESS_H

#include <stdbool.h>
#include "maps.h"

static __always_inline bool is_own_address(__u64 netns_cookie, const __u32 ip[4]) {
  struct own_address key = {
      .netns = {netns_cookie, netns_cookie >> 32},
      .ip = {ip[0], ip[1], ip[2], ip[3]},
  };

  return bpf_map_lookup_elem(&own_addresses, &key);
}

#endif
