/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* DNS over UDP. A datagram that a socket sends to a name server without being connected to it goes to ztunnel's
 * resolver, and the answer appears to come from the name server. connect.bpf.c handles the sockets that are connected.
 *
 * sendmsg runs for every datagram of the node that names its destination, so port 53 is checked before anything else.
 * An answer does not say which question it belongs to, so answers are taken to come in the order of the questions: with
 * one server outstanding the address is right, with several it is one of them. */
#include "address.h"
#include "query.h"
#include "record.h"
#include "resolver.h"

static __always_inline void remember_server(struct asked_servers *servers, const struct address *server) {
  servers->servers[servers->asked % ASKED_SERVERS] = *server;
  servers->asked++;
  /* The oldest is dropped: its answer is late, or was received without asking for the sender. */
  if (servers->asked - servers->answered > ASKED_SERVERS)
    servers->answered = servers->asked - ASKED_SERVERS;
}

/* Returns 1 to let the datagram go, to target if is_captured is set, or 0 to refuse it. */
static __always_inline int route_datagram(struct bpf_sock_addr *ctx, struct query *q, struct address *target,
                                          bool *is_captured) {
  struct bpf_sock *sk = ctx->sk;

  if (ctx->protocol != IPPROTO_UDP || !sk)
    return 1;
  /* A server sends its answers from port 53. A client that asks from that port is not captured either. */
  if (sk->src_port == DNS_PORT)
    return 1;
  /* A socket that is connected elsewhere would not receive the resolver's answer. IPv6 sockets that are connected to a
   * v4-mapped address come here with every send(). */
  if (sk->dst_port && !is_connected_to_resolver(sk))
    return 1;
  if (!complete_query(ctx, q))
    return 1;

  struct decision decision = decide(q);
  if (decision.verdict != VERDICT_DNS)
    return 1;
  /* A connected socket receives answers only from its peer, so there is no server to remember. */
  if (!is_connected_to_resolver(sk)) {
    struct datagram_asker *asker = bpf_sk_storage_get(&datagram_askers, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
    if (!asker) {
      /* Without the record the answer would come from an address that was never asked. */
      count_event(EVENT_STORAGE_FAILED);
      return refuse();
    }
    remember_server(is_v4(q->destination.ip) ? &asker->ipv4 : &asker->ipv6, &q->destination);
  }
  count_event(EVENT_DNS_ASKED);
  record_decision(ctx, q, decision);
  *target = decision.target;
  *is_captured = true;
  return 1;
}

/* An IPv6 socket that sends to an IPv4-mapped address comes here as well (net/ipv6/udp.c, udpv6_sendmsg). */
SEC("cgroup/sendmsg4")
int sluice_sendmsg4(struct bpf_sock_addr *ctx) {
  if (ctx->user_port != bpf_htons(DNS_PORT))
    return 1;

  struct query q = {.destination = mapped(ctx->user_ip4)};
  struct address target = {};
  bool is_captured = false;
  int allowed = route_datagram(ctx, &q, &target, &is_captured);

  if (is_captured) {
    ctx->user_ip4 = target.ip[3];
    ctx->user_port = bpf_htons(ZTUNNEL_DNS_PORT);
  }
  return allowed;
}

SEC("cgroup/sendmsg6")
int sluice_sendmsg6(struct bpf_sock_addr *ctx) {
  if (ctx->user_port != bpf_htons(DNS_PORT))
    return 1;

  struct query q = {.destination = {.ip = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]}}};
  struct address target = {};
  bool is_captured = false;
  int allowed = route_datagram(ctx, &q, &target, &is_captured);

  if (is_captured) {
    ctx->user_ip6[0] = target.ip[0];
    ctx->user_ip6[1] = target.ip[1];
    ctx->user_ip6[2] = target.ip[2];
    ctx->user_ip6[3] = target.ip[3];
    ctx->user_port = bpf_htons(ZTUNNEL_DNS_PORT);
  }
  return allowed;
}

/* The oldest outstanding server; if there is none, the last one again, whose answer came twice. */
static __always_inline bool next_server(struct asked_servers *servers, struct address *server) {
  if (!servers->asked)
    return false;
  if (servers->answered != servers->asked)
    servers->answered++;
  *server = servers->servers[(servers->answered - 1) % ASKED_SERVERS];
  return true;
}

/* from is the resolver's address in the family of the answer. False if the socket asked no server through it. */
static __always_inline bool server_of_answer(struct bpf_sock *sk, const struct address *from, struct address *server) {
  const struct origin *origin = bpf_sk_storage_get(&socket_origin, sk, NULL, 0);
  bool was_connected = origin && origin->role == ORIGIN_ASKED && is_v4(origin->ip) == is_v4(from->ip);

  if (!was_connected || !is_connected_to_resolver(sk)) {
    struct datagram_asker *asker = bpf_sk_storage_get(&datagram_askers, sk, NULL, 0);
    if (asker && next_server(is_v4(from->ip) ? &asker->ipv4 : &asker->ipv6, server))
      return true;
  }
  if (was_connected)
    __builtin_memcpy(server->ip, origin->ip, sizeof(server->ip));
  return was_connected;
}

/* True if the datagram is the resolver's answer; server is then the address from which the socket expects it. */
static __always_inline bool restore_server(struct bpf_sock_addr *ctx, const struct address *from,
                                           struct address *server) {
  struct address resolver = resolver_for(from);

  if (!ctx->sk || !same_address(from->ip, resolver.ip) || !server_of_answer(ctx->sk, from, server))
    return false;
  count_event(EVENT_DNS_ANSWERED);
  return true;
}

SEC("cgroup/recvmsg4")
int sluice_recvmsg4(struct bpf_sock_addr *ctx) {
  if (ctx->user_port != bpf_htons(ZTUNNEL_DNS_PORT))
    return 1;

  struct address from = mapped(ctx->user_ip4);
  struct address server;

  if (restore_server(ctx, &from, &server)) {
    ctx->user_ip4 = server.ip[3];
    ctx->user_port = bpf_htons(DNS_PORT);
  }
  return 1;
}

/* An IPv6 socket receives IPv4 datagrams through this hook as well, v4-mapped (net/ipv6/udp.c, udpv6_recvmsg). */
SEC("cgroup/recvmsg6")
int sluice_recvmsg6(struct bpf_sock_addr *ctx) {
  if (ctx->user_port != bpf_htons(ZTUNNEL_DNS_PORT))
    return 1;

  struct address from = {.ip = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]}};
  struct address server;

  if (restore_server(ctx, &from, &server)) {
    ctx->user_ip6[0] = server.ip[0];
    ctx->user_ip6[1] = server.ip[1];
    ctx->user_ip6[2] = server.ip[2];
    ctx->user_ip6[3] = server.ip[3];
    ctx->user_port = bpf_htons(DNS_PORT);
  }
  return 1;
}
