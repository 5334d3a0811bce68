/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* getpeername(): the application sees the peer that it dialled, not ztunnel. */
#include "address.h"
#include "maps.h"

/* The kernel's answer has ztunnel's port. Another port is the answer of a program that ran before this one, here and in
 * connect(): it saw the address that the application dialled, and connect.bpf.c only saw its translation. */
static __always_inline const struct origin *dialled_origin(const struct bpf_sock_addr *ctx) {
  struct bpf_sock *sk = ctx->sk;

  if (!sk || ctx->user_port != sk->dst_port)
    return NULL;

  const struct origin *origin = bpf_sk_storage_get(&socket_origin, sk, NULL, 0);

  return origin && origin->role != ORIGIN_ACCEPTED ? origin : NULL;
}

SEC("cgroup/getpeername4")
int sluice_getpeername4(struct bpf_sock_addr *ctx) {
  const struct origin *origin = dialled_origin(ctx);

  if (origin) {
    ctx->user_ip4 = origin->ip[3];
    ctx->user_port = origin->port;
  }
  return 1;
}

SEC("cgroup/getpeername6")
int sluice_getpeername6(struct bpf_sock_addr *ctx) {
  const struct origin *origin = dialled_origin(ctx);

  if (origin) {
    ctx->user_ip6[0] = origin->ip[0];
    ctx->user_ip6[1] = origin->ip[1];
    ctx->user_ip6[2] = origin->ip[2];
    ctx->user_ip6[3] = origin->ip[3];
    ctx->user_port = origin->port;
  }
  return 1;
}
