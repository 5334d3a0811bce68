/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Connections that a pod's inbound capture lets through because of who dialled them: the kubelet's probes and ztunnel's
 * dials to the application. connect() knows who dialled, and the pod's network namespace has to know when the SYN
 * arrives: socket_exemption carries it to sockops, and exempt_tuples from there to sk_lookup. Nobody else writes an
 * exemption, so that no pod can fill the map. */
#ifndef SLUICE_EXEMPT_H
#define SLUICE_EXEMPT_H

#include <stdbool.h>
#include "decision.h"
#include "maps.h"
#include "read.h"

/* True if new connections in this network namespace are captured: it belongs to a pod that has its own ztunnel. */
static __always_inline bool captures(__u64 netns_cookie) {
  struct cgroup_info pod;

  return READ(&netns_info_map, &netns_cookie, &pod) && (pod.flags & IN_POD);
}

/* Set in a value of socket_exemption when sockops has asked for the callbacks of the socket's round trips itself. The
 * kernel counts the cookies of network namespaces from 1 upwards, so that this bit is free. */
#define ASKED_FOR_ROUND_TRIPS (1ULL << 62)

static __always_inline __u64 exempted_netns(__u64 exemption) {
  return exemption & ~ASKED_FOR_ROUND_TRIPS;
}

/* A key whose tuple is still to be filled in. */
static __always_inline struct exempt_key exempt_in(__u64 netns_cookie) {
  return (struct exempt_key){.netns = {netns_cookie, netns_cookie >> 32}};
}

/* The network namespace whose capture a connection passes; 0 if there is none. */
static __always_inline __u64 exempting_netns(const struct query *q, struct decision decision) {
  struct local_pod pod;

  switch (decision.reason) {
  case REASON_PROBE:
    return READ(&local_pods, &q->destination, &pod) && (pod.flags & IN_POD) ? pod.netns_cookie : 0;
  case REASON_ZTUNNEL:
    return captures(q->netns_cookie) ? q->netns_cookie : 0;
  default:
    return 0;
  }
}

/* For a connection that passes. False if it ought to be exempt and there is no memory to record that. */
static __always_inline bool remember_exemption(struct bpf_sock *sk, const struct query *q, struct decision decision) {
  __u64 netns_cookie = exempting_netns(q, decision);

  if (!netns_cookie) {
    bpf_sk_storage_delete(&socket_exemption, sk);
    return true;
  }

  __u64 *exemption = bpf_sk_storage_get(&socket_exemption, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
  if (!exemption)
    return false;
  *exemption = netns_cookie;
  return true;
}

#endif
