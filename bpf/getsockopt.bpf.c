/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* getsockopt(SO_ORIGINAL_DST): ztunnel learns where the connection it accepted was meant to go. */
#include <linux/in.h>
#include <linux/in6.h>
#include "address.h"
#include "maps.h"
#include "ztunnel.h"

/* linux/netfilter_ipv4.h and linux/netfilter_ipv6/ip6_tables.h: SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST are both 80.
 */
#define ORIGINAL_DST 80
#define LEVEL_IP     0
#define LEVEL_IPV6   41

/* Leaves the answer of the kernel, or of a program that ran before, as it is. Length 0 keeps an answer of the kernel
 * that is longer than the buffer that programs get (a page, or what the caller asked for): unchanged, that length is
 * EFAULT (kernel/bpf/cgroup.c, __cgroup_bpf_run_filter_getsockopt). A negative length never reaches a program: while
 * one is attached, the kernel answers it with EINVAL. */
static __always_inline int leave_alone(struct bpf_sockopt *ctx) {
  if (!ctx->retval && ctx->optlen > ctx->optval_end - ctx->optval)
    ctx->optlen = 0;
  return 1;
}

/* The stores are volatile because clang would merge them into one of 8 bytes, which the verifier refuses. */
static __always_inline int answer(struct bpf_sockopt *ctx, __s32 length) {
  *(volatile __s32 *)&ctx->optlen = length;
  *(volatile __s32 *)&ctx->retval = 0;
  return 1;
}

static __always_inline int answer_v4(struct bpf_sockopt *ctx, const struct origin *origin) {
  struct sockaddr_in *out = ctx->optval;

  if ((void *)(out + 1) > ctx->optval_end)
    return leave_alone(ctx);
  __builtin_memset(out, 0, sizeof(*out));
  out->sin_family = FAMILY_INET;
  out->sin_port = origin->port;
  out->sin_addr.s_addr = origin->ip[3];
  return answer(ctx, sizeof(*out));
}

static __always_inline int answer_v6(struct bpf_sockopt *ctx, const struct origin *origin) {
  struct sockaddr_in6 *out = ctx->optval;

  if ((void *)(out + 1) > ctx->optval_end)
    return leave_alone(ctx);
  __builtin_memset(out, 0, sizeof(*out));
  out->sin6_family = FAMILY_INET6;
  out->sin6_port = origin->port;
  __builtin_memcpy(&out->sin6_addr, origin->ip, sizeof(origin->ip));
  return answer(ctx, sizeof(*out));
}

SEC("cgroup/getsockopt")
int sluice_getsockopt(struct bpf_sockopt *ctx) {
  if (ctx->optname != ORIGINAL_DST || (ctx->level != LEVEL_IP && ctx->level != LEVEL_IPV6) || !ctx->sk)
    return leave_alone(ctx);

  const struct origin *origin = bpf_sk_storage_get(&socket_origin, ctx->sk, NULL, 0);
  if (!origin || origin->role != ORIGIN_ACCEPTED) {
    /* ztunnel asks at both levels; only one of the two is counted. */
    if (ctx->level == LEVEL_IP && is_ztunnel_port(ctx->sk->src_port))
      count_event(EVENT_ORIGIN_MISSING);
    return leave_alone(ctx);
  }

  bool v4 = is_v4(origin->ip);
  if (v4 && ctx->level == LEVEL_IP)
    return answer_v4(ctx, origin);
  if (!v4 && ctx->level == LEVEL_IPV6)
    return answer_v6(ctx, origin);
  return leave_alone(ctx);
}
