/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tc ingress of a pod's loopback: an application that ztunnel dials from the client's address answers to ztunnel,
 * because its accepted socket takes the mark (tcp_fwmark_accept) that a routing rule of the pod sends back to the
 * loopback. */
#include <linux/pkt_cls.h>
#include "ztunnel.h"

SEC("tc")
int sluice_loopback(struct __sk_buff *packet) {
  if ((packet->mark & ZTUNNEL_MARK_MASK) == ZTUNNEL_MARK)
    packet->mark = (packet->mark & ~ZTUNNEL_MARK_MASK) | REPLY_MARK;
  return TC_ACT_UNSPEC; /* and on to the next filter */
}
