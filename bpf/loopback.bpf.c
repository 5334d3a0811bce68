/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tc ingress of a pod's loopback. ztunnel dials an application from the client's address, and the answers have to come
 * back to ztunnel: the accepted socket takes the mark (tcp_fwmark_accept), and a routing rule of the pod sends that
 * mark to the loopback. */
#include <linux/pkt_cls.h>
#include "ztunnel.h"

SEC("tc")
int sluice_loopback(struct __sk_buff *packet) {
  if ((packet->mark & ZTUNNEL_MARK_MASK) == ZTUNNEL_MARK)
    packet->mark = (packet->mark & ~ZTUNNEL_MARK_MASK) | REPLY_MARK;
  return TC_ACT_UNSPEC; /* continue with the next filter */
}
