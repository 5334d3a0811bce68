/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Recognises a connect() that this program has sent elsewhere already. While the program moves between a cgroup and one
 * above it, or makes way for its next version, both are attached for an instant and run one after the other in the same
 * call: the second finds the socket's origin, and the destination that the first has put in its place. If it decided
 * again, it would take that for the destination that was dialled. */
#ifndef SLUICE_REWRITTEN_H
#define SLUICE_REWRITTEN_H

#include <stdbool.h>
#include "decision.h"

static __always_inline bool has_origin(struct bpf_sock *sk, enum origin_role role) {
  const struct origin *origin = bpf_sk_storage_get(&socket_origin, sk, NULL, 0);

  return origin && origin->role == role;
}

/* port: host order. */
static __always_inline bool is_sent_to_resolver(struct bpf_sock *sk, const struct address *destination, __u16 port) {
  struct address resolver = resolver_for(destination);

  return port == ZTUNNEL_DNS_PORT && same_address(destination->ip, resolver.ip) && has_origin(sk, ORIGIN_ASKED);
}

static __always_inline bool is_sent_to_ztunnel(struct bpf_sock *sk, const struct query *q) {
  struct address ztunnel;

  if (!is_ztunnel_port(q->port) || !has_origin(sk, ORIGIN_DIALLED))
    return false;
  return ztunnel_of(q, &ztunnel) && same_address(q->destination.ip, ztunnel.ip);
}

static __always_inline bool is_rewritten(struct bpf_sock *sk, const struct query *q) {
  return is_sent_to_resolver(sk, &q->destination, q->port) || is_sent_to_ztunnel(sk, q);
}

#endif
