/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The object that the agent loads: every hook in one, so that they share their maps. Read the hooks in this order to
 * follow a connection. */
#include <linux/bpf.h>
#include <linux/in.h>

#include "connect.bpf.c"
#include "sockops.bpf.c"
#include "getsockopt.bpf.c"
#include "getpeername.bpf.c"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Types that no map's key or value names, kept in the BTF for the codec generator. */
const volatile struct decision_record *keep_decision_record __attribute__((unused));
