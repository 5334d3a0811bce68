/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Identifies the caller of connect(): by its cgroup, by an ancestor of that cgroup, or by its network namespace. */
#ifndef SLUICE_CALLER_H
#define SLUICE_CALLER_H

#include <stdbool.h>
#include "maps.h"
#include "own_address.h"
#include "read.h"

/* Deepest ancestor that is looked at. kind inside docker nests a container at level 7. */
#define DEEPEST_LEVEL 15

/* A process in a pod's cgroup may be in another network namespace than the pod's (a nested container engine, or a
 * runtime that has not moved yet). It does not have the pod's addresses, so ztunnel would take its traffic for another
 * workload's. True as well while the agent does not know the pod's namespace. Of a pod that is out nothing is known: it
 * may use a socket that a pod in the mesh has passed to it. ztunnel and the kubelet are what they are everywhere. */
static __always_inline bool in_own_netns(const struct cgroup_info *info, __u64 netns_cookie) {
  if (!info->is_in_mesh)
    return info->flags & (ZTUNNEL | KUBELET);

  struct address ip = {.ip = {info->cgroup_ip[0], info->cgroup_ip[1], info->cgroup_ip[2], info->cgroup_ip[3]}};
  struct local_pod pod;

  /* A namespace that holds the pod's IP is the pod's. */
  if (is_own_address(netns_cookie, ip.ip))
    return true;
  return !READ(&local_pods, &ip, &pod) || !pod.netns_cookie || pod.netns_cookie == netns_cookie;
}

/* The most specific cgroup wins. Only levels at which the agent wrote entries are tried. The verifier accepts the
 * bounded loop (since 5.3); unrolled it would be half of the program. */
static __always_inline bool caller_by_cgroup(__u32 levels, struct cgroup_info *info) {
  __u64 current = bpf_get_current_cgroup_id();

  if (READ(&cgroup_info_map, &current, info))
    return true;
#pragma clang loop unroll(disable)
  for (int level = DEEPEST_LEVEL; level > 0; level--) {
    if (!(levels & (1U << level)))
      continue;
    __u64 ancestor = bpf_get_current_ancestor_cgroup_id(level);
    if (!ancestor || ancestor == current)
      continue;
    if (READ(&cgroup_info_map, &ancestor, info))
      return true;
  }
  return false;
}

/* False if the caller is nobody's. A caller that is out counts as what the namespace is. In a namespace about which the
 * agent has said nothing, a caller of a pod with its own ztunnel stays the pod's, which is refused there; only in the
 * host's it is nobody's. is_decided: whether the agent has decided about the caller's pod, which it may have about a
 * caller that is nobody's. */
static __always_inline bool find_caller(const struct agent_config *config, __u64 netns_cookie, struct cgroup_info *info,
                                        bool *is_decided) {
  bool is_of_cgroup = caller_by_cgroup(config->cgroup_levels, info);
  struct cgroup_info of_netns;

  *is_decided = is_of_cgroup;
  if (is_of_cgroup && in_own_netns(info, netns_cookie))
    return true;
  if (READ(&netns_info_map, &netns_cookie, &of_netns) && of_netns.is_in_mesh) {
    *info = of_netns;
    return true;
  }
  if (!is_of_cgroup)
    return false;
  return !info->is_in_mesh || ((info->flags & IN_POD) && netns_cookie != config->host_netns_cookie);
}

#endif
