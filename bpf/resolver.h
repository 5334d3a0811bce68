/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ztunnel's resolver as a pod sees it: on the pod's loopback, in both families. */
#ifndef SLUICE_RESOLVER_H
#define SLUICE_RESOLVER_H

#include <stdbool.h>
#include "address.h"
#include "ztunnel.h"

/* The resolver's address in the family of the given one. */
static __always_inline struct address resolver_for(const struct address *address) {
  if (is_v4(address->ip))
    return mapped(LOOPBACK_IPV4);
  return (struct address){.ip = {0, 0, 0, bpf_htonl(1)}};
}

static __always_inline bool is_connected_to_resolver(const struct bpf_sock *sk) {
  return sk->dst_port == bpf_htons(ZTUNNEL_DNS_PORT);
}

#endif
