/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Carries the original destination from the connecting socket to the one that ztunnel accepts. The two meet in
 * origin_handoff under the connection's 4-tuple: written before the SYN leaves, moved when the accepting side is
 * established, deleted when the connecting socket closes, so that a reused source port never meets an old answer.
 * exempt_tuples is written and deleted by the connecting socket alone, because the accepting one may be in a cgroup
 * where this program is not attached. ztunnel's listeners are recorded for sk_lookup when they begin to listen. */
#include "address.h"
#include "context.h"
#include "exempt.h"
#include "maps.h"
#include "read.h"
#include "socket_option.h"
#include "ztunnel.h"

static __always_inline void read_addresses(struct bpf_sock_ops *ctx, __u32 local[4], __u32 remote[4]) {
  if (ctx->family == FAMILY_INET) {
    local[0] = local[1] = remote[0] = remote[1] = 0;
    local[2] = remote[2] = V4_MAPPED_WORD;
    local[3] = CONTEXT(local_ip4);
    remote[3] = CONTEXT(remote_ip4);
    return;
  }
  local[0] = CONTEXT(local_ip6[0]);
  local[1] = CONTEXT(local_ip6[1]);
  local[2] = CONTEXT(local_ip6[2]);
  local[3] = CONTEXT(local_ip6[3]);
  remote[0] = CONTEXT(remote_ip6[0]);
  remote[1] = CONTEXT(remote_ip6[1]);
  remote[2] = CONTEXT(remote_ip6[2]);
  remote[3] = CONTEXT(remote_ip6[3]);
}

/* remote_port is 32 bits wide in network order, unlike local_port (linux/bpf.h, struct bpf_sock_ops). */
static __always_inline __u16 remote_port(struct bpf_sock_ops *ctx) {
  return bpf_ntohl(ctx->remote_port);
}

static __always_inline void tuple_of_connecting(struct bpf_sock_ops *ctx, struct tuple *tuple) {
  read_addresses(ctx, tuple->local_ip, tuple->remote_ip);
  tuple->local_port = ctx->local_port;
  tuple->remote_port = remote_port(ctx);
}

/* The same tuple, seen from the other end. */
static __always_inline void tuple_of_accepted(struct bpf_sock_ops *ctx, struct tuple *tuple) {
  read_addresses(ctx, tuple->remote_ip, tuple->local_ip);
  tuple->local_port = remote_port(ctx);
  tuple->remote_port = ctx->local_port;
}

static __always_inline void ask_for(struct bpf_sock_ops *ctx, __u32 callbacks) {
  bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | callbacks);
}

static __always_inline void announce(struct bpf_sock_ops *ctx, struct bpf_sock *sk) {
  const struct origin *origin = bpf_sk_storage_get(&socket_origin, sk, NULL, 0);

  if (!origin || origin->role != ORIGIN_DIALLED)
    return;

  struct tuple tuple = {};
  struct handoff handoff = {.socket_cookie = bpf_get_socket_cookie(ctx), .origin = *origin};

  tuple_of_connecting(ctx, &tuple);
  if (bpf_map_update_elem(&origin_handoff, &tuple, &handoff, BPF_ANY)) {
    count_event(EVENT_HANDOFF_FULL);
    return;
  }
  ask_for(ctx, BPF_SOCK_OPS_STATE_CB_FLAG);
}

/* If ztunnel's own dial were captured, it would come back to ztunnel, which would dial again, and so on. Without its
 * mark or the one that brings answers back, the answer leaves the pod instead of coming back to ztunnel, and the dial
 * fails. */
static __always_inline void give_up_exemption(struct bpf_sock_ops *ctx, struct bpf_sock *sk) {
  __u32 others = sk->mark & ~ZTUNNEL_MARK_MASK;

  count_event(EVENT_EXEMPT_FULL);
  if (is_mark_of_ztunnels_dial(sk->mark))
    bpf_setsockopt(ctx, LEVEL_SOCKET, SOCKET_MARK, &others, sizeof(others));
}

/* The note of a connection whose end nobody has seen, because another program has replaced the socket's callback flags,
 * would take a later one of the pod with the same tuple past the capture, where no socket listens for it. */
static __always_inline void forget_former_user(struct bpf_sock_ops *ctx) {
  struct exempt_key key = exempt_in(bpf_get_netns_cookie(ctx));

  tuple_of_connecting(ctx, &key.tuple);
  if (bpf_map_lookup_elem(&exempt_tuples, &key))
    bpf_map_delete_elem(&exempt_tuples, &key);
}

static __always_inline void announce_exemption(struct bpf_sock_ops *ctx, struct bpf_sock *sk) {
  const __u64 *netns_cookie = bpf_sk_storage_get(&socket_exemption, sk, NULL, 0);

  if (!netns_cookie) {
    if (sk->mark & ROUTE_MARK)
      forget_former_user(ctx);
    return;
  }

  struct exempt_key key = exempt_in(exempted_netns(*netns_cookie));
  __u64 socket_cookie = bpf_get_socket_cookie(ctx);

  tuple_of_connecting(ctx, &key.tuple);
  if (same_address(key.tuple.local_ip, key.tuple.remote_ip))
    return; /* passes anyway, as `self` */
  if (bpf_map_update_elem(&exempt_tuples, &key, &socket_cookie, BPF_ANY)) {
    give_up_exemption(ctx, sk);
    return;
  }
  ask_for(ctx, BPF_SOCK_OPS_STATE_CB_FLAG);
}

static __always_inline void withdraw(struct bpf_sock_ops *ctx) {
  struct tuple tuple = {};

  tuple_of_connecting(ctx, &tuple);
  const struct handoff *handoff = bpf_map_lookup_elem(&origin_handoff, &tuple);
  if (handoff && handoff->socket_cookie == bpf_get_socket_cookie(ctx))
    bpf_map_delete_elem(&origin_handoff, &tuple);
}

/* A value of socket_exemption. */
static __always_inline void withdraw_exemption(struct bpf_sock_ops *ctx, __u64 exemption) {
  struct exempt_key key = exempt_in(exempted_netns(exemption));

  tuple_of_connecting(ctx, &key.tuple);
  const __u64 *owner = bpf_map_lookup_elem(&exempt_tuples, &key);
  if (owner && *owner == bpf_get_socket_cookie(ctx))
    bpf_map_delete_elem(&exempt_tuples, &key);
}

/* The connecting side is established, and the accepting side may not be: with a SYN cookie it has no socket until the
 * last acknowledgement of the handshake has looked up a listener. */
static __always_inline void await_first_answer(struct bpf_sock_ops *ctx, struct bpf_sock *sk) {
  __u64 *exemption = bpf_sk_storage_get(&socket_exemption, sk, NULL, 0);

  if (!exemption || (ctx->bpf_sock_ops_cb_flags & BPF_SOCK_OPS_RTT_CB_FLAG))
    return;
  *exemption |= ASKED_FOR_ROUND_TRIPS;
  ask_for(ctx, BPF_SOCK_OPS_RTT_CB_FLAG);
}

/* The accepting side has acknowledged what was sent after the handshake, so it has a socket, and nothing of the
 * connection looks for a listener again. The round trip of the SYN comes too early; it is seen where another program
 * has asked for it. */
static __always_inline void end_exemption(struct bpf_sock_ops *ctx, struct bpf_sock *sk) {
  if (ctx->state == BPF_TCP_SYN_SENT)
    return;

  const __u64 *found = bpf_sk_storage_get(&socket_exemption, sk, NULL, 0);
  if (!found)
    return;

  __u64 exemption = *found;
  withdraw_exemption(ctx, exemption);
  if (exemption & ASKED_FOR_ROUND_TRIPS)
    bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags & ~BPF_SOCK_OPS_RTT_CB_FLAG);
  bpf_sk_storage_delete(&socket_exemption, sk);
}

static __always_inline void forget_closed(struct bpf_sock_ops *ctx, struct bpf_sock *sk) {
  const __u64 *exemption = bpf_sk_storage_get(&socket_exemption, sk, NULL, 0);

  withdraw(ctx);
  if (exemption)
    withdraw_exemption(ctx, *exemption);
}

static __always_inline void take_over(struct bpf_sock_ops *ctx, struct bpf_sock *sk) {
  if (!is_ztunnel_port(ctx->local_port))
    return;

  struct tuple tuple = {};
  struct handoff handoff;

  tuple_of_accepted(ctx, &tuple);
  if (!READ(&origin_handoff, &tuple, &handoff))
    return;

  handoff.origin.role = ORIGIN_ACCEPTED;
  if (bpf_sk_storage_get(&socket_origin, sk, &handoff.origin, BPF_SK_STORAGE_GET_F_CREATE))
    count_event(EVENT_ORIGIN_MOVED);
  else
    count_event(EVENT_STORAGE_FAILED);
  bpf_map_delete_elem(&origin_handoff, &tuple);
}

/* Only by route does a client with an address of the namespace reach a socket that has none of them. */
static __always_inline bool is_routed_here(struct bpf_sock_ops *ctx) {
  __u64 netns_cookie = bpf_get_netns_cookie(ctx);
  struct tuple tuple;

  tuple_of_accepted(ctx, &tuple);
  return is_own_address(netns_cookie, tuple.local_ip) && !is_own_address(netns_cookie, tuple.remote_ip);
}

/* ztunnel's end of a connection that is captured by route has the mark of ztunnel's listener, 0x539, and the kernel
 * reflects the mark of a packet in what it answers by itself (fwmark_reflect): the reset of a client that has gone, for
 * one. Without the mark of the route that would leave for the destination, whose address this end has, and ztunnel
 * would never hear of it. The listener cannot have the mark: ztunnel sets its own when it listens already (ztunnel
 * src/inpod/config.rs). */
static __always_inline void mark_for_answers(struct bpf_sock_ops *ctx, struct bpf_sock *sk) {
  __u32 mark = sk->mark | ROUTE_MARK;

  if (is_ztunnel_mark(sk->mark) && is_routed_here(ctx))
    bpf_setsockopt(ctx, LEVEL_SOCKET, SOCKET_MARK, &mark, sizeof(mark));
}

static __always_inline void capture_listener(struct bpf_sock_ops *ctx, struct bpf_sock *sk) {
  if (!bpf_sk_storage_get(&ztunnel_sockets, sk, NULL, 0))
    return;

  struct listener_key key = {.netns_cookie = bpf_get_netns_cookie(ctx), .port = ctx->local_port};

  /* The newest wins; an older one that closes later removes only itself. */
  if (bpf_sock_hash_update(ctx, &listeners, &key, BPF_ANY))
    count_event(EVENT_LISTENER_LOST);
}

SEC("sockops")
int sluice_sockops(struct bpf_sock_ops *ctx) {
  struct bpf_sock *sk = ctx->sk;

  if (!sk)
    return 1;
  switch (ctx->op) {
  case BPF_SOCK_OPS_TCP_CONNECT_CB:
    announce(ctx, sk);
    announce_exemption(ctx, sk);
    break;
  case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
    await_first_answer(ctx, sk);
    break;
  case BPF_SOCK_OPS_RTT_CB:
    end_exemption(ctx, sk);
    break;
  case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
    take_over(ctx, sk);
    mark_for_answers(ctx, sk);
    break;
  case BPF_SOCK_OPS_TCP_LISTEN_CB:
    capture_listener(ctx, sk);
    break;
  case BPF_SOCK_OPS_STATE_CB:
    if (ctx->args[1] == BPF_TCP_CLOSE)
      forget_closed(ctx, sk);
    break;
  }
  return 1;
}
