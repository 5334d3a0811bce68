/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The inbound table of docs/architecture.md: the first row that matches decides. packages/datapath/src/inbound-model.ts
 * is the same table in the same order with the same names; a property test holds them against each other. */
#ifndef SLUICE_INBOUND_H
#define SLUICE_INBOUND_H

#include <stdbool.h>
#include "address.h"
#include "exempt.h"
#include "listening.h"
#include "maps.h"
#include "read.h"
#include "rules.h"
#include "ztunnel.h"

/* A new TCP connection that arrives in a pod's network namespace. */
struct arrival {
  __u64 netns_cookie;
  /* As the connecting side sees it: local is the client, remote is the pod. */
  struct tuple tuple;
  /* The packet came over a route to the loopback. A call of the pod to itself does not: its route is that of the
   * device that has the address (net/ipv4/route.c, ip_route_output_key_hash_rcu; net/ipv6/ip6_input.c). */
  bool is_on_loopback;
};

struct inbound_decision {
  enum inbound_verdict verdict;
  enum inbound_reason reason;
  __u32 port; /* of ztunnel's listener, if the verdict is to steer */
};

static __always_inline struct inbound_decision inbound_pass(enum inbound_reason reason) {
  return (struct inbound_decision){.verdict = INBOUND_PASS, .reason = reason};
}

static __always_inline struct inbound_decision inbound_refuse(enum inbound_reason reason) {
  return (struct inbound_decision){.verdict = INBOUND_REFUSE, .reason = reason};
}

static __always_inline struct inbound_decision inbound_steer(enum inbound_reason reason, __u32 port) {
  return (struct inbound_decision){.verdict = INBOUND_STEER, .reason = reason, .port = port};
}

static __always_inline bool is_exempt(const struct arrival *arrival) {
  struct exempt_key key = exempt_in(arrival->netns_cookie);

  key.tuple = arrival->tuple;
  return bpf_map_lookup_elem(&exempt_tuples, &key);
}

/* True for a connection that the pod's own routing delivers here although it is meant for somewhere else: what the pod
 * dials, marked by connect(). It comes over the loopback; that of a socket that is bound to a device comes with the
 * device's index, and from an address of the namespace. An address of the loopback is the pod's own too, and one that
 * is not known yet is called from itself. */
static __always_inline bool goes_elsewhere(const struct arrival *arrival) {
  const struct tuple *tuple = &arrival->tuple;

  return !is_own_address(arrival->netns_cookie, tuple->remote_ip) && !same_address(tuple->local_ip, tuple->remote_ip) &&
         !is_exempt(arrival);
}

/* Lets a connection past the capture, but not to ztunnel's own listeners: they take what they accept for the pod's own
 * traffic, or for captured traffic. */
static __always_inline struct inbound_decision inbound_past(enum inbound_reason reason, __u16 port) {
  return is_ztunnel_port(port) ? inbound_refuse(reason) : inbound_pass(reason);
}

/* For a connection that ztunnel cannot accept now. */
static __always_inline struct inbound_decision inbound_wait(const struct cgroup_info *pod, enum inbound_reason reason,
                                                            __u16 port) {
  if (pod->flags & REFUSE_WAITING)
    return inbound_refuse(reason);
  if (pod->flags & OPEN_WAITING)
    return inbound_past(reason, port);
  return (struct inbound_decision){.verdict = INBOUND_HOLD, .reason = reason};
}

/* The socket that listens for HBONE is not in the map. ztunnel opens it before the one that is asked for here (ztunnel
 * src/proxy.rs). */
static __always_inline struct inbound_decision from_peer(const struct arrival *arrival, const struct cgroup_info *pod) {
  if (is_listening(arrival->netns_cookie, ZTUNNEL_INBOUND_PORT))
    return inbound_pass(INBOUND_HBONE);
  return inbound_wait(pod, INBOUND_HBONE, ZTUNNEL_HBONE_PORT);
}

static __always_inline struct inbound_decision decide_inbound(const struct arrival *arrival) {
  const struct tuple *tuple = &arrival->tuple;
  __u16 port = tuple->remote_port;
  struct cgroup_info pod;

  if (is_loopback(tuple->remote_ip))
    return inbound_pass(INBOUND_LOOPBACK);

  /* Only captured namespaces have addresses of their own in the map. */
  bool is_from_pod = is_own_address(arrival->netns_cookie, tuple->local_ip);
  /* Otherwise clang keeps the pointer to the entry, and combines it with others. */
  barrier_var(is_from_pod);
  if (is_from_pod && goes_elsewhere(arrival))
    return inbound_steer(INBOUND_OUTBOUND, ZTUNNEL_OUTBOUND_PORT);
  /* The program is attached before a pod enters the mesh and until it has left, and an entry says when that is so:
   * one that could not be written must not let anything in. */
  if (!READ(&netns_info_map, &arrival->netns_cookie, &pod))
    pod = (struct cgroup_info){.flags = IN_POD | PENDING};
  if (!(pod.flags & IN_POD))
    return inbound_pass(INBOUND_NOT_IN_MESH);
  if (arrival->is_on_loopback && goes_elsewhere(arrival))
    return inbound_steer(INBOUND_OUTBOUND, ZTUNNEL_OUTBOUND_PORT);
  if (port == ZTUNNEL_OUTBOUND_PORT)
    return bpf_map_lookup_elem(&origin_handoff, tuple) ? inbound_steer(INBOUND_OUTBOUND_LISTENER, ZTUNNEL_OUTBOUND_PORT)
                                                       : inbound_refuse(INBOUND_OUTBOUND_LISTENER);
  if (port == ZTUNNEL_HBONE_PORT)
    return from_peer(arrival, &pod);
  if (is_exempt(arrival))
    return inbound_pass(INBOUND_EXEMPT);
  /* Nobody outside can be at the pod's own address: the answers never reach them. */
  if (is_from_pod || same_address(tuple->local_ip, tuple->remote_ip))
    return inbound_pass(INBOUND_SELF);
  if (pod.flags & PENDING)
    return inbound_wait(&pod, INBOUND_PENDING, port);
  if (pod.flags & BYPASS_INBOUND)
    return inbound_past(INBOUND_BYPASS, port);
  if (is_excluded_inbound(&pod, port))
    return inbound_past(INBOUND_EXCLUDED, port);
  return inbound_steer(INBOUND_STEERED, ZTUNNEL_INBOUND_PORT);
}

/* What a decision to steer becomes when ztunnel has no such listener. What the pod itself has dialled is not let
 * through, because connect() has sent it to ztunnel already. What a pod has dialled by route that leaves the mesh goes
 * directly as soon as the rules are gone. */
static __always_inline struct inbound_decision without_listener(const struct arrival *arrival,
                                                                struct inbound_decision decision) {
  struct cgroup_info pod;

  if (!READ(&netns_info_map, &arrival->netns_cookie, &pod))
    pod.flags = 0;
  if (decision.reason == INBOUND_STEERED)
    return inbound_wait(&pod, INBOUND_NO_LISTENER, arrival->tuple.remote_port);
  if (pod.flags & REFUSE_WAITING)
    return inbound_refuse(decision.reason);
  return (struct inbound_decision){.verdict = INBOUND_HOLD, .reason = decision.reason};
}

#endif
