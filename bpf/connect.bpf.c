/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* connect(): asks the decision table where the connection goes. By route, it marks the socket and changes nothing else;
 * by rewrite, it remembers where the connection was meant to go, and sends it there. TCP, and UDP to a name server. */
#include "decision.h"
#include "exempt.h"
#include "query.h"
#include "record.h"
#include "rewritten.h"
#include "socket_option.h"

/* SOCK_STREAM: <sys/socket.h> is not for BPF. */
#define TYPE_STREAM 1

/* An MPTCP socket connects by its first subflow, which is a TCP socket (net/mptcp/protocol.c, mptcp_connect). */
static __always_inline bool is_tcp(const struct bpf_sock_addr *ctx) {
  return ctx->type == TYPE_STREAM && ctx->protocol == IPPROTO_TCP;
}

static __always_inline bool is_udp(const struct bpf_sock_addr *ctx) {
  return ctx->protocol == IPPROTO_UDP;
}

/* A socket may connect again after a refusal: what it remembers must be of its last connect(). */
static __always_inline void forget_origin(struct bpf_sock *sk) {
  bpf_sk_storage_delete(&socket_origin, sk);
}

static __always_inline void forget_exemption(struct bpf_sock *sk) {
  bpf_sk_storage_delete(&socket_exemption, sk);
}

static __always_inline bool remember_origin(struct bpf_sock *sk, const struct query *q, enum origin_role role) {
  struct origin *origin = bpf_sk_storage_get(&socket_origin, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);

  if (!origin)
    return false;
  __builtin_memcpy(origin->ip, q->destination.ip, sizeof(origin->ip));
  origin->port = bpf_htons(q->port);
  origin->role = role;
  return true;
}

static __always_inline __u16 port_for(enum verdict verdict) {
  switch (verdict) {
  case VERDICT_REDIRECT:
  case VERDICT_HOLD:
    return ZTUNNEL_OUTBOUND_PORT;
  case VERDICT_TO_MESH:
    return ZTUNNEL_INBOUND_PORT;
  default:
    return ZTUNNEL_DNS_PORT;
  }
}

/* What is captured by route keeps its destination, whether ztunnel listens or is waited for. */
static __always_inline bool is_routed_to_ztunnel(struct decision decision) {
  return decision.verdict == VERDICT_ROUTE || (decision.verdict == VERDICT_HOLD && is_unspecified(decision.target.ip));
}

/* ztunnel dials an application from the client's own address. The accepted socket takes the mark of the SYN
 * (tcp_fwmark_accept), and a rule of the pod's namespace brings packets with Istio's mark back to the loopback. */
static __always_inline __u32 mark_for(const struct query *q, struct decision decision) {
  if (is_routed_to_ztunnel(decision))
    return q->mark | ROUTE_MARK;
  if (decision.reason == REASON_ZTUNNEL && is_ztunnel_mark(q->mark) &&
      is_own_address(q->netns_cookie, q->destination.ip))
    return (q->mark & ~ZTUNNEL_MARK_MASK) | REPLY_MARK;
  return q->mark & ~ROUTE_MARK;
}

/* Marks the socket before its route is chosen. Only our bit, and ztunnel's own mark, ever change: the rest belongs to
 * the application. False if the connection would go elsewhere than decided. */
static __always_inline bool mark_socket(struct bpf_sock_addr *ctx, const struct query *q, struct decision decision) {
  __u32 mark = mark_for(q, decision);

  return mark == q->mark || !bpf_setsockopt(ctx, LEVEL_SOCKET, SOCKET_MARK, &mark, sizeof(mark));
}

/* Returns 1 to let the connect() go on, to target if target_port is set, or 0 to refuse it. */
static __always_inline int route_connect(struct bpf_sock_addr *ctx, struct query *q, struct address *target,
                                         __u16 *target_port) {
  struct bpf_sock *sk = ctx->sk;

  if (!sk)
    return 1;
  /* Only a datagram for a name server can be sent elsewhere. */
  if (is_udp(ctx) && ctx->user_port != bpf_htons(DNS_PORT)) {
    if (!is_sent_to_resolver(sk, &q->destination, bpf_ntohs(ctx->user_port)))
      forget_origin(sk);
    return 1;
  }
  if (!complete_query(ctx, q) || is_rewritten(sk, q))
    return 1;

  struct decision decision = decide(q);

  if (is_udp(ctx) && decision.verdict != VERDICT_DNS) {
    forget_origin(sk);
    return 1;
  }
  count_in(&counters, decision.reason * VERDICTS + decision.verdict);
  record_decision(ctx, q, decision);
  if (!mark_socket(ctx, q, decision))
    return refuse();

  if (is_routed_to_ztunnel(decision)) {
    forget_origin(sk);
    forget_exemption(sk);
    return 1;
  }
  switch (decision.verdict) {
  case VERDICT_REDIRECT:
  case VERDICT_HOLD:
  case VERDICT_TO_MESH:
  case VERDICT_DNS:
    if (!remember_origin(sk, q, decision.verdict == VERDICT_DNS ? ORIGIN_ASKED : ORIGIN_DIALLED)) {
      /* Without the record ztunnel could not know where the connection was meant to go. */
      count_event(EVENT_STORAGE_FAILED);
      return refuse();
    }
    forget_exemption(sk);
    *target = decision.target;
    *target_port = port_for(decision.verdict);
    return 1;
  case VERDICT_REFUSE:
    forget_origin(sk);
    forget_exemption(sk);
    return refuse();
  default:
    forget_origin(sk);
    if (!remember_exemption(sk, q, decision)) {
      /* Without the record a connection that ztunnel dials would come back to ztunnel. */
      count_event(EVENT_STORAGE_FAILED);
      return refuse();
    }
    return 1;
  }
}

SEC("cgroup/connect4")
int sluice_connect4(struct bpf_sock_addr *ctx) {
  if (!is_tcp(ctx) && !is_udp(ctx))
    return 1;

  struct query q = {.destination = mapped(ctx->user_ip4)};
  struct address target = {};
  __u16 port = 0;
  int allowed = route_connect(ctx, &q, &target, &port);

  if (port) {
    ctx->user_ip4 = target.ip[3];
    ctx->user_port = bpf_htons(port);
  }
  return allowed;
}

/* IPv4-mapped destinations come here too and stay mapped, because the socket is an IPv6 one. */
SEC("cgroup/connect6")
int sluice_connect6(struct bpf_sock_addr *ctx) {
  if (!is_tcp(ctx) && !is_udp(ctx))
    return 1;

  struct query q = {.destination = {.ip = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]}}};
  struct address target = {};
  __u16 port = 0;
  int allowed = route_connect(ctx, &q, &target, &port);

  if (port) {
    ctx->user_ip6[0] = target.ip[0];
    ctx->user_ip6[1] = target.ip[1];
    ctx->user_ip6[2] = target.ip[2];
    ctx->user_ip6[3] = target.ip[3];
    ctx->user_port = bpf_htons(port);
  }
  return allowed;
}
