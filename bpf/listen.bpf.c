/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* listen(): holds the listeners that bind() has marked (held.h). It is attached above all pods, and ends in its first
 * instructions for everything else. The kernel runs it with the socket locked, after the socket has been found a place
 * among the listeners: whoever decides afterwards, and then runs the iterator, finds it there. */
#include "held.h"
#include "socket_option.h"

/* The agent has to hear of a socket that was held at bind() already: it was no listener when the agent let the others
 * go, and the application may lack the right to take it off the loopback (sock_bindtoindex_locked: CAP_NET_RAW). */
static __always_inline void report_late(struct bpf_sock_ops *ctx, const struct held_listener *held) {
  struct pod_event *event = bpf_ringbuf_reserve(&pod_events, sizeof(*event), 0);

  if (!event) {
    count_event(EVENT_POD_EVENT_LOST);
    return;
  }
  *event = (struct pod_event){
      .cgroup_id = held->pod,
      .netns_cookie = bpf_get_netns_cookie(ctx),
      .kind = POD_EVENT_LISTENER_LATE,
  };
  bpf_ringbuf_submit(event, 0);
}

SEC("sockops")
int sluice_listen(struct bpf_sock_ops *ctx) {
  if (ctx->op != BPF_SOCK_OPS_TCP_LISTEN_CB)
    return 1;

  struct bpf_sock *sk = ctx->sk;
  __u32 loopback = LOOPBACK_INDEX;

  if (!sk)
    return 1;

  struct held_listener *held = bpf_sk_storage_get(&held_listeners, sk, NULL, 0);
  if (!held)
    return 1;
  if (is_let_go(held->pod, held->netns_cookie)) {
    if (held->is_held)
      report_late(ctx, held);
    return 1;
  }
  if (held->is_held)
    return 1;
  held->device = sk->bound_dev_if;
  held->is_held = 1;
  if (bpf_setsockopt(ctx, LEVEL_SOCKET, BOUND_DEVICE, &loopback, sizeof(loopback))) {
    held->is_held = 0;
    count_event(EVENT_LISTENER_UNHELD);
  }
  return 1;
}
