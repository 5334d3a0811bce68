/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Carries the original destination from the connecting socket to the one that ztunnel accepts. They meet in
 * pending_origin under the connection's 4-tuple: written before the SYN leaves, moved when the accepting side is
 * established, deleted when the connecting socket closes, so that a reused source port never meets an old answer. */
#include "address.h"
#include "maps.h"
#include "ztunnel.h"

/* AF_INET: <sys/socket.h> is not for BPF. */
#define FAMILY_INET 2

/* Pins a load where it stands: clang would sink the last load of both families into one through a computed context
 * pointer, which the verifier refuses. */
#define CONTEXT(field)                                                                                                 \
  ({                                                                                                                   \
    __u32 value_ = ctx->field;                                                                                         \
    asm volatile("# " #field : "+r"(value_));                                                                          \
    value_;                                                                                                            \
  })

static __always_inline void read_addresses(struct bpf_sock_ops *ctx, __u32 local[4], __u32 remote[4]) {
  if (ctx->family == FAMILY_INET) {
    local[0] = local[1] = remote[0] = remote[1] = 0;
    local[2] = remote[2] = V4_MAPPED_WORD;
    local[3] = CONTEXT(local_ip4);
    remote[3] = CONTEXT(remote_ip4);
    return;
  }
  local[0] = CONTEXT(local_ip6[0]);
  local[1] = CONTEXT(local_ip6[1]);
  local[2] = CONTEXT(local_ip6[2]);
  local[3] = CONTEXT(local_ip6[3]);
  remote[0] = CONTEXT(remote_ip6[0]);
  remote[1] = CONTEXT(remote_ip6[1]);
  remote[2] = CONTEXT(remote_ip6[2]);
  remote[3] = CONTEXT(remote_ip6[3]);
}

/* remote_port is 32 bits wide in network order, unlike local_port (linux/bpf.h, struct bpf_sock_ops). */
static __always_inline __u16 remote_port(struct bpf_sock_ops *ctx) {
  return bpf_ntohl(ctx->remote_port);
}

static __always_inline void tuple_of_connecting(struct bpf_sock_ops *ctx, struct tuple *tuple) {
  read_addresses(ctx, tuple->local_ip, tuple->remote_ip);
  tuple->local_port = ctx->local_port;
  tuple->remote_port = remote_port(ctx);
}

/* The same tuple, seen from the other end. */
static __always_inline void tuple_of_accepted(struct bpf_sock_ops *ctx, struct tuple *tuple) {
  read_addresses(ctx, tuple->remote_ip, tuple->local_ip);
  tuple->local_port = remote_port(ctx);
  tuple->remote_port = ctx->local_port;
}

static __always_inline void announce(struct bpf_sock_ops *ctx, struct bpf_sock *sk) {
  const struct origin *origin = bpf_sk_storage_get(&socket_origin, sk, NULL, 0);

  if (!origin || origin->role != ORIGIN_DIALLED)
    return;

  struct tuple tuple = {};
  struct pending pending = {.socket_cookie = bpf_get_socket_cookie(ctx), .origin = *origin};

  tuple_of_connecting(ctx, &tuple);
  if (bpf_map_update_elem(&pending_origin, &tuple, &pending, BPF_ANY)) {
    count_event(EVENT_PENDING_FULL);
    return;
  }
  bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

static __always_inline void withdraw(struct bpf_sock_ops *ctx) {
  struct tuple tuple = {};

  tuple_of_connecting(ctx, &tuple);
  const struct pending *pending = bpf_map_lookup_elem(&pending_origin, &tuple);
  if (pending && pending->socket_cookie == bpf_get_socket_cookie(ctx))
    bpf_map_delete_elem(&pending_origin, &tuple);
}

static __always_inline void take_over(struct bpf_sock_ops *ctx, struct bpf_sock *sk) {
  if (!is_ztunnel_port(ctx->local_port))
    return;

  struct tuple tuple = {};

  tuple_of_accepted(ctx, &tuple);
  const struct pending *pending = bpf_map_lookup_elem(&pending_origin, &tuple);
  if (!pending)
    return;

  struct origin origin = pending->origin;
  origin.role = ORIGIN_ACCEPTED;
  if (bpf_sk_storage_get(&socket_origin, sk, &origin, BPF_SK_STORAGE_GET_F_CREATE))
    count_event(EVENT_ORIGIN_MOVED);
  else
    count_event(EVENT_STORAGE_FAILED);
  bpf_map_delete_elem(&pending_origin, &tuple);
}

SEC("sockops")
int sluice_sockops(struct bpf_sock_ops *ctx) {
  struct bpf_sock *sk = ctx->sk;

  if (!sk)
    return 1;
  switch (ctx->op) {
  case BPF_SOCK_OPS_TCP_CONNECT_CB:
    announce(ctx, sk);
    break;
  case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
    take_over(ctx, sk);
    break;
  case BPF_SOCK_OPS_STATE_CB:
    if (ctx->args[1] == BPF_TCP_CLOSE)
      withdraw(ctx);
    break;
  }
  return 1;
}
