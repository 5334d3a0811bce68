/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bind(): recognises ztunnel's listeners by the task that binds them, marks what a pod binds about which nobody has
 * decided, and lets applications bind ports that ztunnel's connections occupy. Only this hook knows that the calling
 * task owns the socket; sockops needs to know it when the socket begins to listen. */
#include "caller.h"
#include "decision.h"
#include "exempt.h"
#include "held.h"
#include "socket_option.h"
#include "ztunnel.h"

static __always_inline void capture_ztunnel(struct bpf_sock_addr *ctx) {
  __u32 on = 1;

  if (!bpf_sk_storage_get(&ztunnel_sockets, ctx->sk, &on, BPF_SK_STORAGE_GET_F_CREATE))
    count_event(EVENT_STORAGE_FAILED);
  /* A steered connection occupies the port that was dialled, not ztunnel's, and inherits the listener's SO_REUSEADDR.
   * Without it an application could not bind that port while such a connection is open. */
  bpf_setsockopt(ctx, LEVEL_SOCKET, REUSE_ADDRESS, &on, sizeof(on));
}

/* ztunnel's end of a connection that is captured by route occupies the destination's port in the pod's namespace. The
 * kernel lets an application bind that port as well if both have SO_REUSEADDR, which many do not set. It does not let
 * two listen on one port, with or without (net/ipv4/inet_connection_sock.c, inet_bind_conflict). */
static __always_inline void share_port(struct bpf_sock_addr *ctx, const struct cgroup_info *pod) {
  __u32 on = 1;

  if (ctx->user_port && (pod->flags & IN_POD) && (pod->flags & ROUTE))
    bpf_setsockopt(ctx, LEVEL_SOCKET, REUSE_ADDRESS, &on, sizeof(on));
}

static __always_inline bool is_sharing_port(struct bpf_sock_addr *ctx) {
  __u32 is_shared = 0;

  return !bpf_getsockopt(ctx, LEVEL_SOCKET, REUSE_PORT, &is_shared, sizeof(is_shared)) && is_shared;
}

static __always_inline bool bind_to_loopback(struct bpf_sock_addr *ctx) {
  __u32 loopback = LOOPBACK_INDEX;

  return !bpf_setsockopt(ctx, LEVEL_SOCKET, BOUND_DEVICE, &loopback, sizeof(loopback));
}

/* Most sockets are held when they begin to listen. Two kinds are held already when they are bound:
 *
 * The kernel lets those sockets of a SO_REUSEPORT group share connections that are bound to one device when they begin
 * to listen, so one that joins later must find the others where it is itself. IPv6 does not let a socket bind an
 * address that its device does not have; such a group falls apart, and its first socket gets all connections.
 *
 * Only who has CAP_NET_RAW takes a socket from its device. Whoever has not must not bind it.
 *
 * False if the socket could not be held afterwards. */
static __always_inline bool hold_at_bind(struct bpf_sock_addr *ctx, struct held_listener *held,
                                         bool may_be_on_loopback) {
  __u32 device = ctx->sk->bound_dev_if;

  if (held->is_held || device == LOOPBACK_INDEX)
    return true;
  if (!device && !(may_be_on_loopback && is_sharing_port(ctx)))
    return true;
  held->device = device;
  held->is_held = bind_to_loopback(ctx);
  return held->is_held || !device;
}

/* Marks what a pod binds that is not to be reached yet. False if it could not be held afterwards. */
static __always_inline bool mark_held(struct bpf_sock_addr *ctx, __u64 pod, bool may_be_on_loopback) {
  struct held_listener mark = {.pod = pod, .netns_cookie = bpf_get_netns_cookie(ctx)};
  struct held_listener *held = bpf_sk_storage_get(&held_listeners, ctx->sk, &mark, BPF_SK_STORAGE_GET_F_CREATE);

  if (!held) {
    count_event(EVENT_STORAGE_FAILED);
    return false;
  }
  return hold_at_bind(ctx, held, may_be_on_loopback);
}

/* Returns 1 to let the bind() go on, or 0 to refuse it. In the namespace of a pod that is not pending, the caller does
 * not matter unless the port is one of ztunnel's. */
static __always_inline int see_bind(struct bpf_sock_addr *ctx, bool may_be_on_loopback) {
  __u64 netns_cookie = bpf_get_netns_cookie(ctx);
  __u32 zero = 0;
  struct query q = {.config = bpf_map_lookup_elem(&config, &zero), .netns_cookie = netns_cookie};
  struct cgroup_info pod;

  if (ctx->protocol != IPPROTO_TCP || !ctx->sk || !q.config)
    return 1;

  bool is_known = READ(&netns_info_map, &netns_cookie, &pod) && pod.is_in_mesh;
  bool may_be_ztunnels = is_known && (pod.flags & IN_POD) && is_ztunnel_port(bpf_ntohs(ctx->user_port));
  if (may_be_ztunnels || !is_known || (pod.flags & PENDING)) {
    bool is_decided;

    q.mark = ctx->sk->mark;
    if (!find_caller(q.config, netns_cookie, &q.caller, &is_decided))
      q.caller = (struct cgroup_info){};
    __u64 held = pod_to_hold(&q.caller, is_decided, is_known);
    if (held && !is_let_go(held, netns_cookie) && !mark_held(ctx, held, may_be_on_loopback))
      return 0;
  }
  if (may_be_ztunnels && is_ztunnel(&q))
    capture_ztunnel(ctx);
  if (is_known)
    share_port(ctx, &pod);
  return 1;
}

SEC("cgroup/bind4")
int sluice_bind4(struct bpf_sock_addr *ctx) {
  return see_bind(ctx, true);
}

SEC("cgroup/bind6")
int sluice_bind6(struct bpf_sock_addr *ctx) {
  const __u32 ip[4] = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]};

  return see_bind(ctx, is_unspecified(ip) || is_v4(ip));
}
