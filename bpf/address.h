/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What an address is, whichever family it came in: 16 bytes in network order, IPv4 as v4-mapped. */
#ifndef SLUICE_ADDRESS_H
#define SLUICE_ADDRESS_H

#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include "maps.h"

/* AF_INET, AF_INET6: <sys/socket.h> is not for BPF. */
#define FAMILY_INET  2
#define FAMILY_INET6 10

/* ::ffff:0:0/96 (RFC 4291 2.5.5.2). */
#define V4_MAPPED_WORD bpf_htonl(0x0000ffff)
/* 127.0.0.0/8 (RFC 1122 3.2.1.3). */
#define LOOPBACK_NET  bpf_htonl(0x7f000000)
#define LOOPBACK_MASK bpf_htonl(0xff000000)
#define LOOPBACK_IPV4 bpf_htonl(0x7f000001)

/* LOOPBACK_IFINDEX of the kernel's net/flow.h: in every namespace the loopback is the first device. */
#define LOOPBACK_INDEX 1

static __always_inline struct address mapped(__u32 ip4) {
  return (struct address){.ip = {0, 0, V4_MAPPED_WORD, ip4}};
}

static __always_inline bool is_v4(const __u32 ip[4]) {
  return !ip[0] && !ip[1] && ip[2] == V4_MAPPED_WORD;
}

static __always_inline bool same_address(const __u32 a[4], const __u32 b[4]) {
  return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

static __always_inline bool is_unspecified(const __u32 ip[4]) {
  return !ip[0] && !ip[1] && !ip[2] && !ip[3];
}

/* The unspecified address counts: Linux connects 0.0.0.0 and :: to the caller itself (tcp_v6_connect, ip_route_output).
 */
static __always_inline bool is_loopback(const __u32 ip[4]) {
  if (is_v4(ip))
    return (ip[3] & LOOPBACK_MASK) == LOOPBACK_NET || !ip[3];
  return !ip[0] && !ip[1] && !ip[2] && (ip[3] == bpf_htonl(1) || !ip[3]);
}

#endif
