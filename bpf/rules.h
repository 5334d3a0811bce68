/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Istio's traffic annotations: which ports and ranges of a workload go through the mesh and which do not. The order is
 * that of a sidecar's (istio tools/istio-iptables/pkg/capture): exclusions first, then inclusions. */
#ifndef SLUICE_RULES_H
#define SLUICE_RULES_H

#include <stdbool.h>
#include "address.h"
#include "maps.h"

/* port: host order. */
static __always_inline bool has_port_rule(__u64 workload, __u16 port, enum port_rule_kind kind) {
  struct port_rule rule = {.workload = {workload, workload >> 32}, .port = port, .kind = kind};

  return bpf_map_lookup_elem(&port_rules, &rule) != NULL;
}

/* ranges: excluded_cidrs or included_cidrs. */
static __always_inline bool has_cidr_rule(void *ranges, __u64 workload, const __u32 ip[4]) {
  struct cidr_rule rule = {
      .prefix_length = 64 + 128,
      .workload = {workload, workload >> 32},
      .ip = {ip[0], ip[1], ip[2], ip[3]},
  };
  const __u8 *family = bpf_map_lookup_elem(ranges, &rule);

  /* ::/0 covers the v4-mapped addresses too, and is not meant to. */
  return family && *family == (is_v4(ip) ? 4 : 6);
}

/* True if the port of an outbound connection is excluded, which wins over everything else. */
static __always_inline bool is_excluded_port(const struct cgroup_info *workload, __u16 port) {
  return (workload->flags & EXCLUDES) && has_port_rule(workload->id, port, RULE_EXCLUDE_OUTBOUND);
}

/* True if a range takes an outbound connection out of the mesh. A connection to an included port is in the mesh
 * whatever its address is. */
static __always_inline bool is_excluded_range(const struct cgroup_info *workload, const __u32 ip[4], __u16 port) {
  if (!(workload->flags & EXCLUDES))
    return false;
  if (has_cidr_rule(&excluded_cidrs, workload->id, ip))
    return true;
  if (!(workload->flags & ONLY_INCLUDED_OUTBOUND))
    return false;
  return !has_port_rule(workload->id, port, RULE_INCLUDE_OUTBOUND) && !has_cidr_rule(&included_cidrs, workload->id, ip);
}

/* True if a connection to a port of the workload goes to its application directly. Exclusions mean something only where
 * every port is included. */
static __always_inline bool is_excluded_inbound(const struct cgroup_info *workload, __u16 port) {
  if (!(workload->flags & EXCLUDES))
    return false;
  if (workload->flags & ONLY_INCLUDED_INBOUND)
    return !has_port_rule(workload->id, port, RULE_INCLUDE_INBOUND);
  return has_port_rule(workload->id, port, RULE_EXCLUDE_INBOUND);
}

#endif
