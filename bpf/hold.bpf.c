/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Makes a connection that waits for ztunnel send its SYN again soon, and often enough. The kernel would wait for a
 * second before it sends the second one, and give up as the pod's sysctls say. It is attached at a pod's own cgroup
 * while the pod's connections may have to wait. */
#include "address.h"
#include "maps.h"
#include "socket_option.h"
#include "ztunnel.h"

/* In jiffies, whose length only user space can find out: until the first SYN that is sent again. The kernel doubles it
 * from one SYN to the next. */
const volatile __u32 first_retransmission = 0;
/* How many SYNs are sent again. */
const volatile __u32 retransmissions = 0;

/* True if connect() sends the socket to the ztunnel of its pod, by either capture, whether it has to wait or not: the
 * first SYN reaches a ztunnel that listens. */
static __always_inline bool is_sent_to_own_ztunnel(struct bpf_sock_ops *ctx, struct bpf_sock *sk) {
  if (sk->mark & ROUTE_MARK)
    return true;
  if (bpf_ntohl(ctx->remote_port) != ZTUNNEL_OUTBOUND_PORT)
    return false;

  const struct origin *origin = bpf_sk_storage_get(&socket_origin, sk, NULL, 0);
  return origin && origin->role == ORIGIN_DIALLED;
}

SEC("sockops")
int sluice_hold(struct bpf_sock_ops *ctx) {
  struct bpf_sock *sk = ctx->sk;
  __u32 times = retransmissions;

  if (ctx->op != BPF_SOCK_OPS_TCP_CONNECT_CB && ctx->op != BPF_SOCK_OPS_TIMEOUT_INIT)
    return 1;
  if (!sk || !first_retransmission || !is_sent_to_own_ztunnel(ctx, sk))
    return 1;
  if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB)
    bpf_setsockopt(ctx, LEVEL_TCP, SYN_COUNT, &times, sizeof(times));
  else
    ctx->reply = first_retransmission;
  return 1;
}
