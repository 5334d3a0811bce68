/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The listeners of pods that are not to be reached yet: those about which the agent has not decided, and those that are
 * wanted in the mesh and whose inbound connections are not captured. They are bound to the loopback, so that only the
 * pod itself reaches them, and no packet is looked at. bind() knows who the caller is, and marks the socket; when it
 * begins to listen, listen.bpf.c holds it; the iterator of guard.bpf.c lets it go. What could not be held is refused:
 * by bind(), and by listen(), which guard.bpf.c answers. */
#ifndef SLUICE_HELD_H
#define SLUICE_HELD_H

#include <stdbool.h>
#include "address.h"
#include "caller.h"
#include "expected.h"
#include "maps.h"
#include "read.h"

/* A pod's sandbox may have been made anew, with another namespace than the one in which its connections are captured.
 * One that is nested in the pod is reached through the pod's, and the host's is not the pod's. */
static __always_inline bool is_reachable(const struct agent_config *agent, __u64 pod, __u64 netns_cookie) {
  struct cgroup_info of_netns = {};
  __u64 captured_in;

  if (!READ(&reachable_pods, &pod, &captured_in))
    return false;
  if (!captured_in || captured_in == netns_cookie || netns_cookie == agent->host_netns_cookie)
    return true;
  return READ(&netns_info_map, &netns_cookie, &of_netns) && (of_netns.flags & NESTED);
}

/* True if what a pod listens at in a namespace may be reached: because the agent says so, by policy, or because no
 * listener is held at all. */
static __always_inline bool is_let_go(__u64 pod, __u64 netns_cookie) {
  __u32 zero = 0;
  const struct agent_config *agent = bpf_map_lookup_elem(&config, &zero);
  const struct guard_config *guard = bpf_map_lookup_elem(&guard_config, &zero);

  /* No directory: there is no guard yet, and nobody to let anything go. */
  if (!agent || !guard || !guard->pod_logs_length || guard->lets_all_go || (agent->policy & POLICY_UNKNOWN_OPEN))
    return true;
  return is_reachable(agent, pod, netns_cookie);
}

/* The pod whose listeners may have to be held; 0 for most callers. caller: zero if it is nobody's. A pod with its own
 * ztunnel may be in a namespace of which the agent has not heard yet. */
static __always_inline __u64 pod_to_hold(const struct cgroup_info *caller, bool is_decided, bool is_known_netns) {
  if (!caller->id)
    return is_decided ? 0 : expected_pod();
  if (!caller->is_in_mesh)
    return 0;
  return (caller->flags & PENDING) || (!is_known_netns && (caller->flags & IN_POD)) ? caller->id : 0;
}

#endif
