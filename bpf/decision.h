/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The decision table of docs/architecture.md: the first row that matches decides. packages/datapath/src/model.ts is
 * the same table in the same order with the same names; a property test holds them against each other. */
#ifndef SLUICE_DECISION_H
#define SLUICE_DECISION_H

#include <stdbool.h>
#include "address.h"
#include "listening.h"
#include "maps.h"
#include "own_address.h"
#include "read.h"
#include "resolver.h"
#include "rules.h"
#include "ztunnel.h"

struct query {
  const struct agent_config *config;
  struct cgroup_info caller; /* zero if the agent does not know the caller */
  bool is_expected;          /* the caller's pod is to be in the mesh, and the agent has not decided about it */
  __u64 netns_cookie;
  __u32 mark;
  __u32 bound_device;          /* ifindex, SO_BINDTODEVICE; 0 if the socket is bound to none */
  struct address bound_source; /* zero if the socket is bound to no address, or to no device */
  struct address destination;
  __u16 port; /* host order */
};

struct decision {
  enum verdict verdict;
  enum reason reason;
  struct address target; /* where to go instead, if the verdict says so */
};

static __always_inline bool has_flag(const struct query *q, enum workload_flag flag) {
  return q->caller.flags & flag;
}

static __always_inline bool is_ztunnel(const struct query *q) {
  return has_flag(q, ZTUNNEL) || ((q->config->policy & POLICY_ZTUNNEL_BY_MARK) && is_ztunnel_mark(q->mark));
}

static __always_inline bool is_in_mesh(const struct query *q) {
  return q->caller.is_in_mesh;
}

/* Probes come from the host's network: from the kubelet or, by configuration, from any process there. */
static __always_inline bool is_prober(const struct query *q) {
  if (q->netns_cookie != q->config->host_netns_cookie)
    return false;
  return has_flag(q, KUBELET) || ((q->config->policy & POLICY_PROBES_FROM_HOST) && !is_in_mesh(q));
}

/* What is for the loopback leaves the pod if the socket is bound to another device. */
static __always_inline bool stays_in_pod(const __u32 destination[4], __u32 bound_device) {
  return is_loopback(destination) && (!bound_device || bound_device == LOOPBACK_INDEX);
}

/* destination is zero if it is not a meshed pod of this node. */
static __always_inline bool is_self(const struct query *q, const struct local_pod *destination) {
  return same_address(q->destination.ip, q->caller.cgroup_ip) ||
         (destination->netns_cookie && destination->netns_cookie == q->netns_cookie) ||
         is_own_address(q->netns_cookie, q->destination.ip);
}

/* DNS goes to ztunnel's resolver on the pod's loopback. Only a ztunnel in the pod has one, and a socket that is bound
 * to a device cannot reach it. */
static __always_inline bool is_captured_dns(const struct query *q) {
  return q->port == DNS_PORT && has_flag(q, DNS_CAPTURE) && has_flag(q, IN_POD) && !q->bound_device;
}

/* As with a sidecar, DNS is captured whichever server is asked: an excluded port takes it out of the mesh, an excluded
 * range does not. */
static __always_inline bool is_excluded(const struct query *q) {
  return is_excluded_port(&q->caller, q->port) ||
         (!is_captured_dns(q) && is_excluded_range(&q->caller, q->destination.ip, q->port));
}

/* ztunnel listens at the caller's own Pod IPs, in the caller's namespace. False if the pod has no address of the
 * family. */
static __always_inline bool ztunnel_in_pod(const struct query *q, struct address *ztunnel) {
  struct pod_addresses own;

  if (!READ(&pod_addresses, &q->netns_cookie, &own))
    return false;
  *ztunnel = is_v4(q->destination.ip) ? own.ipv4 : own.ipv6;
  return !is_unspecified(ztunnel->ip);
}

/* True for a process of the pod in a network namespace that is not the pod's, as far as the agent has said: no ztunnel
 * listens there. */
static __always_inline bool is_astray(const struct query *q) {
  struct pod_addresses own;

  return has_flag(q, IN_POD) && !READ(&pod_addresses, &q->netns_cookie, &own);
}

/* ztunnel's address in the family of the destination; false if none is known. */
static __always_inline bool ztunnel_for(const struct address *destination, struct address *ztunnel) {
  __u32 key = is_v4(destination->ip) ? SETTING_ZTUNNEL_IPV4 : SETTING_ZTUNNEL_IPV6;

  return READ(&settings, &key, ztunnel);
}

/* True if the rules and routes of the caller's namespace bring a marked connection to ztunnel. A socket that is bound
 * to a device takes routes of that device only. */
static __always_inline bool is_routed(const struct query *q) {
  /* Such a connection is told from an inbound one by its addresses. */
  if (!is_unspecified(q->bound_source.ip) && !is_own_address(q->netns_cookie, q->bound_source.ip))
    return false;

  struct routed_device key = {
      .netns = {q->netns_cookie, q->netns_cookie >> 32},
      .ifindex = q->bound_device,
  };
  const __u64 *value = bpf_map_lookup_elem(&routed_netns, &key);

  if (!value)
    return false;

  __u64 routed = *(const volatile __u64 *)value;
  return routed >> ROUTED_COOKIE_SHIFT == q->netns_cookie &&
         (routed & (is_v4(q->destination.ip) ? ROUTED_IPV4 : ROUTED_IPV6));
}

/* Only a caller in the mesh has a ztunnel of its own. */
static __always_inline bool ztunnel_of(const struct query *q, struct address *ztunnel) {
  bool in_pod = is_in_mesh(q) && has_flag(q, IN_POD);

  return in_pod ? ztunnel_in_pod(q, ztunnel) : ztunnel_for(&q->destination, ztunnel);
}

static __always_inline struct decision pass(enum reason reason) {
  return (struct decision){.verdict = VERDICT_PASS, .reason = reason};
}

static __always_inline struct decision refusal(enum reason reason) {
  return (struct decision){.verdict = VERDICT_REFUSE, .reason = reason};
}

/* Captured by route: the pod's own routing leads to ztunnel, and the destination stays. */
static __always_inline bool is_by_route(const struct query *q) {
  return has_flag(q, IN_POD) && has_flag(q, ROUTE);
}

/* To the ztunnel in the caller's pod, or what becomes of a connection that cannot reach it now. Without its route, a
 * marked connection would leave the pod. Without a listener, or the socket that holds in its place, it would be neither
 * accepted nor refused: the kernel sends no reset from an IPv4 address that it does not have (net/ipv4/tcp_ipv4.c,
 * tcp_v4_send_reset). */
static __always_inline struct decision to_own_ztunnel(const struct query *q, bool routed) {
  bool pending = has_flag(q, PENDING);
  struct decision decision = {.verdict = is_by_route(q) ? VERDICT_ROUTE : VERDICT_REDIRECT, .reason = REASON_REDIRECT};
  bool has_way = is_by_route(q) ? routed : has_flag(q, IN_POD) && ztunnel_in_pod(q, &decision.target);

  if (!pending && has_way && is_listening(q->netns_cookie, ZTUNNEL_OUTBOUND_PORT))
    return decision;
  decision.reason = pending ? REASON_PENDING : REASON_NO_ZTUNNEL;
  decision.verdict = VERDICT_HOLD;
  if (has_flag(q, REFUSE_WAITING))
    return refusal(decision.reason);
  if (has_flag(q, OPEN_WAITING))
    return pass(decision.reason);
  return has_way && can_hold() ? decision : refusal(decision.reason);
}

/* To a ztunnel in another pod: it needs an address of the destination's family; without one the policy decides. */
static __always_inline struct decision to_ztunnel(const struct query *q, enum verdict verdict, enum reason reason) {
  struct decision decision = {.verdict = verdict, .reason = reason};

  if (ztunnel_for(&q->destination, &decision.target))
    return decision;
  if (q->config->policy & POLICY_NO_ZTUNNEL_OPEN)
    return pass(REASON_NO_ZTUNNEL);
  return refusal(REASON_NO_ZTUNNEL);
}

/* Only the pod itself is reached, whatever its namespace is: nobody has prepared it. */
static __always_inline struct decision unknown(const struct query *q) {
  if ((q->config->policy & POLICY_UNKNOWN_OPEN) || stays_in_pod(q->destination.ip, q->bound_device))
    return pass(REASON_UNKNOWN);
  return refusal(REASON_UNKNOWN);
}

static __always_inline struct decision decide(const struct query *q) {
  struct local_pod pod = {};
  /* The addresses of a pod with its own ztunnel are in own_addresses. */
  bool knows_itself = is_in_mesh(q) && has_flag(q, IN_POD) && !has_flag(q, KUBELET);
  bool meshed_pod = !knows_itself && READ(&local_pods, &q->destination, &pod);
  /* A pod with its own ztunnel captures its inbound connections itself, wherever they come from. */
  bool behind_node_ztunnel = meshed_pod && !(pod.flags & IN_POD);

  if (is_ztunnel(q))
    return pass(REASON_ZTUNNEL);
  if (is_prober(q) && meshed_pod)
    return pass(REASON_PROBE);
  if (q->is_expected)
    return unknown(q);
  if (!is_in_mesh(q) && behind_node_ztunnel)
    return to_ztunnel(q, VERDICT_TO_MESH, REASON_TO_MESH);
  if (!is_in_mesh(q))
    return pass(REASON_NOT_IN_MESH);
  if (is_loopback(q->destination.ip))
    return stays_in_pod(q->destination.ip, q->bound_device) ? pass(REASON_LOOPBACK) : refusal(REASON_LOOPBACK);
  if (is_self(q, &pod))
    return pass(REASON_SELF);

  if (has_flag(q, NESTED))
    return pass(REASON_OTHER_NETNS);
  if (is_excluded(q))
    return pass(REASON_EXCLUDED);

  /* Only the pod's own namespace is prepared. */
  bool routed = is_by_route(q) && is_routed(q);

  if (!has_flag(q, PENDING)) {
    if (!routed && is_astray(q))
      return refusal(REASON_UNPREPARED);
    if (is_captured_dns(q))
      return (struct decision){.verdict = VERDICT_DNS, .reason = REASON_DNS, .target = resolver_for(&q->destination)};
    if (is_by_route(q) && !routed)
      return refusal(REASON_UNPREPARED);
    if (!has_flag(q, IN_POD))
      return to_ztunnel(q, VERDICT_REDIRECT, REASON_REDIRECT);
  }
  return to_own_ztunnel(q, routed);
}

#endif
