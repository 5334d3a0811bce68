/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The object that the agent loads: every hook in one, so that they share their maps. Read the hooks in this order to
 * follow a connection. */
#include <linux/bpf.h>
#include <linux/in.h>

#include "connect.bpf.c"
#include "bind.bpf.c"
#include "sockops.bpf.c"
#include "hold.bpf.c"
#include "refuse.bpf.c"
#include "listen.bpf.c"
#include "getsockopt.bpf.c"
#include "getpeername.bpf.c"
#include "getsockname.bpf.c"
#include "dns.bpf.c"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Types that no map's key or value names: a pointer to each keeps it in the BTF, for the codec generator. */
#define EXPORT(kind, name) const kind name *const volatile export_##name = 0
EXPORT(struct, decision_record);
EXPORT(enum, verdict);
EXPORT(enum, reason);
EXPORT(enum, event);
EXPORT(enum, workload_flag);
EXPORT(enum, routed_family);
EXPORT(enum, capture_mark);
EXPORT(enum, setting);
EXPORT(enum, policy_bit);
EXPORT(enum, port_rule_kind);
EXPORT(enum, inbound_verdict);
EXPORT(enum, inbound_reason);
EXPORT(enum, origin_role);
EXPORT(struct, pod_event);
EXPORT(enum, pod_event_kind);
