/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* connect() of a pod that is to be in the mesh and whose entry could not be written: refused, except to the loopback.
 * It is attached at that pod's own cgroup while that is so, and asks no map, because a map may be full. */
#include "address.h"
#include "query.h"

/* As the row `loopback` of the decision table: what a socket that is bound to another device sends leaves the pod. */
static __always_inline bool stays(const struct bpf_sock *sk, const __u32 ip[4]) {
  return sk && is_loopback(ip) && (!sk->bound_dev_if || sk->bound_dev_if == LOOPBACK_INDEX);
}

SEC("cgroup/connect4")
int sluice_refuse4(struct bpf_sock_addr *ctx) {
  const struct address destination = mapped(ctx->user_ip4);

  return ctx->protocol != IPPROTO_TCP || stays(ctx->sk, destination.ip) ? 1 : refuse();
}

SEC("cgroup/connect6")
int sluice_refuse6(struct bpf_sock_addr *ctx) {
  const __u32 ip[4] = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]};

  return ctx->protocol != IPPROTO_TCP || stays(ctx->sk, ip) ? 1 : refuse();
}
