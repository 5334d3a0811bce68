/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whether the calling task belongs to a pod that is expected in the mesh (guard.bpf.c). */
#ifndef SLUICE_EXPECTED_H
#define SLUICE_EXPECTED_H

#include "caller.h"
#include "maps.h"

/* The pod-level cgroup; 0 if there is none. Ask only for a caller that the agent does not know. */
static __always_inline __u64 expected_pod(void) {
#pragma clang loop unroll(disable)
  for (int level = 1; level <= DEEPEST_LEVEL; level++) {
    __u64 cgroup = bpf_get_current_ancestor_cgroup_id(level);

    /* The task's own cgroup was the one before. */
    if (!cgroup)
      return 0;
    if (bpf_map_lookup_elem(&expected_cgroups, &cgroup))
      return cgroup;
  }
  return 0;
}

#endif
