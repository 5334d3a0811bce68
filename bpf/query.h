/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Turns a hook's context into the question that the table answers. The hook reads the destination, each family in its
 * own way. */
#ifndef SLUICE_QUERY_H
#define SLUICE_QUERY_H

#include <stdbool.h>
#include "caller.h"
#include "decision.h"
#include "expected.h"

/* bpf_set_retval() takes a negative errno: what a closed port would have answered. */
#define CONNECTION_REFUSED (-111)

/* A connection that another program has refused before keeps that program's errno. */
static __always_inline int refuse(void) {
  if (!bpf_get_retval())
    bpf_set_retval(CONNECTION_REFUSED);
  return 0;
}

/* The address that a socket is bound to; zero for none. */
static __always_inline struct address source_of(const struct bpf_sock *sk) {
  struct address source = {};

  if (sk->family == FAMILY_INET)
    return sk->src_ip4 ? mapped(sk->src_ip4) : source;
  source.ip[0] = sk->src_ip6[0];
  source.ip[1] = sk->src_ip6[1];
  source.ip[2] = sk->src_ip6[2];
  source.ip[3] = sk->src_ip6[3];
  return source;
}

/* False if there is nothing to decide by. */
static __always_inline bool complete_query(struct bpf_sock_addr *ctx, struct query *q) {
  const struct bpf_sock *sk = ctx->sk;
  __u32 zero = 0;
  bool is_decided;

  q->config = bpf_map_lookup_elem(&config, &zero);
  if (!sk || !q->config)
    return false;
  q->mark = sk->mark;
  q->bound_device = sk->bound_dev_if;
  if (q->bound_device)
    q->bound_source = source_of(sk);
  q->netns_cookie = bpf_get_netns_cookie(ctx);
  q->port = bpf_ntohs(ctx->user_port);
  if (!find_caller(q->config, q->netns_cookie, &q->caller, &is_decided)) {
    q->caller = (struct cgroup_info){};
    q->is_expected = !is_decided && expected_pod();
  }
  return true;
}

#endif
