/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* getsockname(): a socket that connected to a name server has the pod's own IP, not the loopback address from which it
 * reaches ztunnel's resolver. Some programs connect a datagram socket only to learn their own address. */
#include "address.h"
#include "maps.h"
#include "read.h"
#include "resolver.h"

/* False unless connect() sent the socket to the resolver, which gave the socket a loopback address. */
static __always_inline bool own_address(struct bpf_sock_addr *ctx, const struct address *local, struct address *own) {
  struct address resolver = resolver_for(local);

  if (!same_address(local->ip, resolver.ip) || !ctx->sk || !is_connected_to_resolver(ctx->sk))
    return false;

  const struct origin *origin = bpf_sk_storage_get(&socket_origin, ctx->sk, NULL, 0);
  if (!origin || origin->role != ORIGIN_ASKED)
    return false;

  __u64 netns_cookie = bpf_get_netns_cookie(ctx);
  struct pod_addresses pod;
  if (!READ(&pod_addresses, &netns_cookie, &pod))
    return false;
  *own = is_v4(local->ip) ? pod.ipv4 : pod.ipv6;
  return !is_unspecified(own->ip);
}

SEC("cgroup/getsockname4")
int sluice_getsockname4(struct bpf_sock_addr *ctx) {
  struct address local = mapped(ctx->user_ip4);
  struct address own;

  if (own_address(ctx, &local, &own))
    ctx->user_ip4 = own.ip[3];
  return 1;
}

SEC("cgroup/getsockname6")
int sluice_getsockname6(struct bpf_sock_addr *ctx) {
  struct address local = {.ip = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]}};
  struct address own;

  if (own_address(ctx, &local, &own)) {
    ctx->user_ip6[0] = own.ip[0];
    ctx->user_ip6[1] = own.ip[1];
    ctx->user_ip6[2] = own.ip[2];
    ctx->user_ip6[3] = own.ip[3];
  }
  return 1;
}
