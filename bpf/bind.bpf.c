/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bind(): recognises ztunnel's listeners by the task that binds them, and lets applications bind ports that ztunnel's
 * connections occupy. Only this hook knows that the calling task owns the socket; sockops needs to know it when the
 * socket begins to listen. */
#include "caller.h"
#include "decision.h"
#include "exempt.h"
#include "socket_option.h"
#include "ztunnel.h"

static __always_inline bool is_bound_by_ztunnel(struct bpf_sock *sk, __u64 netns_cookie) {
  __u32 zero = 0;
  struct query q = {.config = bpf_map_lookup_elem(&config, &zero), .netns_cookie = netns_cookie, .mark = sk->mark};

  if (!q.config)
    return false;
  if (!find_caller(q.config, netns_cookie, &q.caller))
    q.caller = (struct cgroup_info){};
  return is_ztunnel(&q);
}

static __always_inline void recognise(struct bpf_sock_addr *ctx) {
  __u16 port = bpf_ntohs(ctx->user_port);
  struct bpf_sock *sk = ctx->sk;

  if (!is_ztunnel_port(port) || ctx->protocol != IPPROTO_TCP || !sk)
    return;

  __u64 netns_cookie = bpf_get_netns_cookie(ctx);
  __u32 on = 1;
  if (!captures(netns_cookie) || !is_bound_by_ztunnel(sk, netns_cookie))
    return;
  if (!bpf_sk_storage_get(&ztunnel_sockets, sk, &on, BPF_SK_STORAGE_GET_F_CREATE))
    count_event(EVENT_STORAGE_FAILED);
  /* A steered connection occupies the port that was dialled, not ztunnel's, and inherits the listener's SO_REUSEADDR.
   * Without it an application could not bind that port while such a connection is open. */
  bpf_setsockopt(ctx, LEVEL_SOCKET, REUSE_ADDRESS, &on, sizeof(on));
}

/* ztunnel's end of a connection that is captured by route occupies the destination's port in the pod's namespace. The
 * kernel lets an application bind that port as well if both have SO_REUSEADDR, which many do not set. It does not let
 * two listen on one port, with or without (net/ipv4/inet_connection_sock.c, inet_bind_conflict). */
static __always_inline void share_port(struct bpf_sock_addr *ctx) {
  __u64 netns_cookie = bpf_get_netns_cookie(ctx);
  struct cgroup_info pod;
  __u32 on = 1;

  if (!ctx->user_port || ctx->protocol != IPPROTO_TCP)
    return;
  if (READ(&netns_info_map, &netns_cookie, &pod) && (pod.flags & IN_POD) && (pod.flags & ROUTE))
    bpf_setsockopt(ctx, LEVEL_SOCKET, REUSE_ADDRESS, &on, sizeof(on));
}

SEC("cgroup/bind4")
int sluice_bind4(struct bpf_sock_addr *ctx) {
  recognise(ctx);
  share_port(ctx);
  return 1;
}

SEC("cgroup/bind6")
int sluice_bind6(struct bpf_sock_addr *ctx) {
  recognise(ctx);
  share_port(ctx);
  return 1;
}
