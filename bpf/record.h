/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The sampled report of a decision, for people who ask why. */
#ifndef SLUICE_RECORD_H
#define SLUICE_RECORD_H

#include "decision.h"

static __always_inline void record_decision(struct bpf_sock_addr *ctx, const struct query *q,
                                            struct decision decision) {
  __u32 every = q->config->sample_every;

  if (!every || (every > 1 && bpf_get_prandom_u32() % every))
    return;

  struct decision_record *record = bpf_ringbuf_reserve(&decisions, sizeof(*record), 0);
  if (!record) {
    count_event(EVENT_DECISION_LOST);
    return;
  }
  record->timestamp_ns = bpf_ktime_get_ns();
  record->cgroup_id = bpf_get_current_cgroup_id();
  record->workload = q->caller.id;
  record->netns_cookie = q->netns_cookie;
  record->socket_cookie = bpf_get_socket_cookie(ctx);
  record->pid = bpf_get_current_pid_tgid() >> 32;
  __builtin_memcpy(record->destination, q->destination.ip, sizeof(record->destination));
  record->port = q->port;
  record->verdict = decision.verdict;
  record->reason = decision.reason;
  bpf_get_current_comm(record->comm, sizeof(record->comm));
  bpf_ringbuf_submit(record, 0);
}

#endif
