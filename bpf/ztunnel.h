/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is known of ztunnel from outside: its ports and the mark of its sockets. */
#ifndef SLUICE_ZTUNNEL_H
#define SLUICE_ZTUNNEL_H

#include <stdbool.h>
#include <linux/types.h>

/* ztunnel src/config.rs. */
#define ZTUNNEL_OUTBOUND_PORT 15001
#define ZTUNNEL_INBOUND_PORT  15006
#define ZTUNNEL_HBONE_PORT    15008
/* Its resolver, on the loopback of a pod that it serves in the pod's own namespace. */
#define ZTUNNEL_DNS_PORT 15053
/* RFC 1035 4.2. */
#define DNS_PORT 53

/* ztunnel marks its sockets with 1337 = 0x539, and Istio's rules match the low twelve bits (ztunnel
 * src/inpod/config.rs). */
#define ZTUNNEL_MARK      0x539
#define ZTUNNEL_MARK_MASK 0xfff
/* Istio's mark for packets that have to go back to ztunnel, routed by `fwmark 0x111/0xfff` (istio cni/pkg/iptables). */
#define REPLY_MARK 0x111

static __always_inline bool is_ztunnel_mark(__u32 mark) {
  return (mark & ZTUNNEL_MARK_MASK) == ZTUNNEL_MARK;
}

/* ztunnel's mark, or what connect() made of it for a dial to the application. */
static __always_inline bool is_mark_of_ztunnels_dial(__u32 mark) {
  return is_ztunnel_mark(mark) || (mark & ZTUNNEL_MARK_MASK) == REPLY_MARK;
}

/* The ports that connections are sent to; an original destination is of use only there. Host order. */
static __always_inline bool is_ztunnel_port(__u32 port) {
  return port == ZTUNNEL_OUTBOUND_PORT || port == ZTUNNEL_INBOUND_PORT;
}

#endif
