/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whether a socket of the map of listeners is there: ztunnel's, or the one that holds connections. */
#ifndef SLUICE_LISTENING_H
#define SLUICE_LISTENING_H

#include <stdbool.h>
#include "maps.h"

static __always_inline bool is_listening(__u64 netns_cookie, __u64 port) {
  struct listener_key key = {.netns_cookie = netns_cookie, .port = port};
  struct bpf_sock *listener = bpf_map_lookup_elem(&listeners, &key);

  if (listener)
    bpf_sk_release(listener);
  return listener;
}

/* False while no agent runs: then nobody would end the wait. */
static __always_inline bool can_hold(void) {
  return is_listening(HOLDING_NETNS, HOLDING_PORT);
}

#endif
