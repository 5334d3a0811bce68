/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* connect() of a pod that is to be in the mesh and whose entry could not be written: refused, except to the loopback.
 * It is attached at that pod's own cgroup while that is so, and asks no map, because a map may be full. */
#include "address.h"
#include "query.h"

static __always_inline int refuse_all_but_loopback(const struct bpf_sock_addr *ctx, const __u32 destination[4]) {
  const struct bpf_sock *sk = ctx->sk;

  return ctx->protocol != IPPROTO_TCP || (sk && stays_in_pod(destination, sk->bound_dev_if)) ? 1 : refuse();
}

SEC("cgroup/connect4")
int sluice_refuse4(struct bpf_sock_addr *ctx) {
  const struct address destination = mapped(ctx->user_ip4);

  return refuse_all_but_loopback(ctx, destination.ip);
}

SEC("cgroup/connect6")
int sluice_refuse6(struct bpf_sock_addr *ctx) {
  const __u32 ip[4] = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]};

  return refuse_all_but_loopback(ctx, ip);
}
