/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* sk_lookup in a pod's network namespace decides who accepts a new connection. It is an object of its own, loaded once
 * for each namespace, because the hook cannot ask where it runs. Its maps are those of sluice.bpf.c, but for one. */
#include <linux/bpf.h>
#include <linux/in.h>

#include "context.h"
#include "inbound.h"

/* SO_NETNS_COOKIE of the namespace that this instance is attached to. A map and no constant, so that the instance can
 * be loaded before the namespace is there. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} attached_to SEC(".maps");

/* A SYN, or the acknowledgement of a SYN cookie: remote is the client. */
static __always_inline void read_arrival(struct bpf_sk_lookup *ctx, struct arrival *arrival) {
  struct tuple *tuple = &arrival->tuple;

  arrival->is_on_loopback = ctx->ingress_ifindex == LOOPBACK_INDEX;
  tuple->local_port = bpf_ntohs(ctx->remote_port);
  tuple->remote_port = ctx->local_port;
  if (ctx->family == FAMILY_INET) {
    tuple->local_ip[2] = tuple->remote_ip[2] = V4_MAPPED_WORD;
    tuple->local_ip[3] = CONTEXT(remote_ip4);
    tuple->remote_ip[3] = CONTEXT(local_ip4);
    return;
  }
  tuple->local_ip[0] = CONTEXT(remote_ip6[0]);
  tuple->local_ip[1] = CONTEXT(remote_ip6[1]);
  tuple->local_ip[2] = CONTEXT(remote_ip6[2]);
  tuple->local_ip[3] = CONTEXT(remote_ip6[3]);
  tuple->remote_ip[0] = CONTEXT(local_ip6[0]);
  tuple->remote_ip[1] = CONTEXT(local_ip6[1]);
  tuple->remote_ip[2] = CONTEXT(local_ip6[2]);
  tuple->remote_ip[3] = CONTEXT(local_ip6[3]);
}

/* Assigns that very socket: an application of the same user that joined its SO_REUSEPORT group must not get any
 * connection. The kernel does not ask for the namespace of the socket. */
static __always_inline bool assign_listener(struct bpf_sk_lookup *ctx, __u64 netns, __u64 port) {
  struct listener_key key = {.netns_cookie = netns, .port = port};
  struct bpf_sock *listener = bpf_map_lookup_elem(&listeners, &key);

  if (!listener)
    return false;

  long failed = bpf_sk_assign(ctx, listener, BPF_SK_LOOKUP_F_NO_REUSEPORT | BPF_SK_LOOKUP_F_REPLACE);

  bpf_sk_release(listener);
  return !failed;
}

SEC("sk_lookup")
int sluice_inbound(struct bpf_sk_lookup *ctx) {
  __u32 zero = 0;
  const __u64 *netns_cookie = bpf_map_lookup_elem(&attached_to, &zero);

  if (ctx->protocol != IPPROTO_TCP)
    return SK_PASS;
  if (!netns_cookie)
    return SK_DROP;

  struct arrival arrival = {.netns_cookie = *netns_cookie};

  read_arrival(ctx, &arrival);
  struct inbound_decision decision = decide_inbound(&arrival);
  if (decision.verdict == INBOUND_STEER && !assign_listener(ctx, arrival.netns_cookie, decision.port))
    decision = without_listener(&arrival, decision);
  /* The filter of that socket drops what it gets, so that the client sends its SYN again. */
  if (decision.verdict == INBOUND_HOLD && !assign_listener(ctx, HOLDING_NETNS, HOLDING_PORT))
    decision = inbound_refuse(decision.reason);
  count_in(&inbound_counters, decision.reason * INBOUND_VERDICTS + decision.verdict);
  return decision.verdict == INBOUND_REFUSE ? SK_DROP : SK_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
