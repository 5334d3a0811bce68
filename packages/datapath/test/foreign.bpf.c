/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What other people attach beside us, one program of each type that we use: a load balancer that translates a service
 * to a backend and a firewall that refuses, as far as foreign-programs.kernel.test.ts can see their effect. Ports and
 * addresses are the test's. */
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* <errno.h> and <sys/socket.h> are not for BPF. */
#define NO_ROUTE_TO_HOST (-113)
#define ADDRESS_NOT_HERE (-99)
#define LEVEL_IP         0
#define LEVEL_SOCKET     1
#define LEVEL_IPV6       41
#define SEND_BUFFER      7
#define RECEIVE_BUFFER   8
#define ORIGINAL_DST     80
/* 1, and above it BPF_RET_BIND_NO_CAP_NET_BIND_SERVICE (linux/filter.h). */
#define ALLOW_PRIVILEGED 3

/* What connect() and sendto() refuse, what getsockname() shows of UDP, what bind() refuses and allows to everybody,
 * whose connections get no original destination, and what another listener gets. */
#define REFUSED_PORT    4001
#define SHOWN_PORT      4002
#define UNBINDABLE_PORT 4004
#define PRIVILEGED_PORT 82
#define SHY_CLIENT_PORT 4007
#define STEERED_PORT    4008
/* An option that the kernel does not have, and what it answers, as does SO_RCVBUF. */
#define NO_SUCH_OPTION 4242
#define ANSWER         4242

/* 192.0.2.10 and 2001:db8::10 (RFC 5737, RFC 3849): the service. The backend is the testbed's other node. */
#define SERVICE_IP4       bpf_htonl(0xc000020a)
#define SERVICE_IP6_FIRST bpf_htonl(0x20010db8)
#define SERVICE_IP6_LAST  bpf_htonl(0x10)
/* 10.66.1.2 and fd66:0:0:1::2. */
#define BACKEND_IP4        bpf_htonl(0x0a420102)
#define BACKEND_IP6_FIRST  bpf_htonl(0xfd660000)
#define BACKEND_IP6_SECOND bpf_htonl(1)
#define BACKEND_IP6_LAST   bpf_htonl(2)

/* ztunnel's, as in bpf/ztunnel.h, and a bit of our own above them. */
#define ZTUNNEL_INBOUND_PORT 15006
#define ZTUNNEL_MARK         0x539
#define REPLY_MARK           0x111
#define MARK_MASK            0xfff
#define FOREIGN_MARK         0x10000

/* Index of sights. */
enum sight {
  SIGHT_ZTUNNEL_BINDS,
  SIGHT_ROUND_TRIP,
  SIGHT_ACCEPTED_WITH_BOTH_MARKS,
  SIGHT_STEERED,
  SIGHTS,
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, SIGHTS);
  __type(key, __u32);
  __type(value, __u64);
} sights SEC(".maps");

/* The port of the service that a socket dialled; network order. */
struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, __u32);
} services SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_SOCKMAP);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} steered SEC(".maps");

static __always_inline void see(enum sight sight) {
  __u32 index = sight;
  __u64 *count = bpf_map_lookup_elem(&sights, &index);

  if (count)
    __sync_fetch_and_add(count, 1);
}

static __always_inline int refuse(int error) {
  bpf_set_retval(error);
  return 0;
}

static __always_inline void remember_service(struct bpf_sock_addr *ctx) {
  __u32 port = ctx->user_port;

  if (ctx->sk)
    bpf_sk_storage_get(&services, ctx->sk, &port, BPF_SK_STORAGE_GET_F_CREATE);
}

static __always_inline bool is_service6(struct bpf_sock_addr *ctx) {
  return ctx->user_ip6[0] == SERVICE_IP6_FIRST && ctx->user_ip6[3] == SERVICE_IP6_LAST;
}

static __always_inline void to_backend6(struct bpf_sock_addr *ctx) {
  ctx->user_ip6[0] = BACKEND_IP6_FIRST;
  ctx->user_ip6[1] = BACKEND_IP6_SECOND;
  ctx->user_ip6[2] = 0;
  ctx->user_ip6[3] = BACKEND_IP6_LAST;
}

static __always_inline void to_service6(struct bpf_sock_addr *ctx) {
  ctx->user_ip6[0] = SERVICE_IP6_FIRST;
  ctx->user_ip6[1] = 0;
  ctx->user_ip6[2] = 0;
  ctx->user_ip6[3] = SERVICE_IP6_LAST;
}

SEC("cgroup/connect4")
int foreign_connect4(struct bpf_sock_addr *ctx) {
  if (ctx->user_port == bpf_htons(REFUSED_PORT))
    return refuse(NO_ROUTE_TO_HOST);
  if (ctx->user_ip4 == SERVICE_IP4) {
    remember_service(ctx);
    ctx->user_ip4 = BACKEND_IP4;
  }
  return 1;
}

SEC("cgroup/connect6")
int foreign_connect6(struct bpf_sock_addr *ctx) {
  if (ctx->user_port == bpf_htons(REFUSED_PORT))
    return refuse(NO_ROUTE_TO_HOST);
  if (is_service6(ctx)) {
    remember_service(ctx);
    to_backend6(ctx);
  }
  return 1;
}

SEC("cgroup/sendmsg4")
int foreign_sendmsg4(struct bpf_sock_addr *ctx) {
  if (ctx->user_port == bpf_htons(REFUSED_PORT))
    return refuse(NO_ROUTE_TO_HOST);
  if (ctx->user_ip4 == SERVICE_IP4)
    ctx->user_ip4 = BACKEND_IP4;
  return 1;
}

SEC("cgroup/sendmsg6")
int foreign_sendmsg6(struct bpf_sock_addr *ctx) {
  if (ctx->user_port == bpf_htons(REFUSED_PORT))
    return refuse(NO_ROUTE_TO_HOST);
  if (is_service6(ctx))
    to_backend6(ctx);
  return 1;
}

SEC("cgroup/recvmsg4")
int foreign_recvmsg4(struct bpf_sock_addr *ctx) {
  if (ctx->user_ip4 == BACKEND_IP4)
    ctx->user_ip4 = SERVICE_IP4;
  return 1;
}

SEC("cgroup/recvmsg6")
int foreign_recvmsg6(struct bpf_sock_addr *ctx) {
  if (ctx->user_ip6[0] == BACKEND_IP6_FIRST && ctx->user_ip6[1] == BACKEND_IP6_SECOND &&
      ctx->user_ip6[3] == BACKEND_IP6_LAST)
    to_service6(ctx);
  return 1;
}

SEC("cgroup/getpeername4")
int foreign_getpeername4(struct bpf_sock_addr *ctx) {
  const __u32 *port = ctx->sk ? bpf_sk_storage_get(&services, ctx->sk, NULL, 0) : NULL;

  if (port) {
    ctx->user_ip4 = SERVICE_IP4;
    ctx->user_port = *port;
  }
  return 1;
}

SEC("cgroup/getpeername6")
int foreign_getpeername6(struct bpf_sock_addr *ctx) {
  const __u32 *port = ctx->sk ? bpf_sk_storage_get(&services, ctx->sk, NULL, 0) : NULL;

  if (port) {
    to_service6(ctx);
    ctx->user_port = *port;
  }
  return 1;
}

SEC("cgroup/getsockname4")
int foreign_getsockname4(struct bpf_sock_addr *ctx) {
  if (ctx->protocol == IPPROTO_UDP)
    ctx->user_port = bpf_htons(SHOWN_PORT);
  return 1;
}

SEC("cgroup/getsockname6")
int foreign_getsockname6(struct bpf_sock_addr *ctx) {
  if (ctx->protocol == IPPROTO_UDP)
    ctx->user_port = bpf_htons(SHOWN_PORT);
  return 1;
}

static __always_inline int decide_bind(struct bpf_sock_addr *ctx) {
  switch (bpf_ntohs(ctx->user_port)) {
  case ZTUNNEL_INBOUND_PORT:
    see(SIGHT_ZTUNNEL_BINDS);
    return 1;
  case UNBINDABLE_PORT:
    return refuse(ADDRESS_NOT_HERE);
  case PRIVILEGED_PORT:
    return ALLOW_PRIVILEGED;
  default:
    return 1;
  }
}

SEC("cgroup/bind4")
int foreign_bind4(struct bpf_sock_addr *ctx) {
  return decide_bind(ctx);
}

SEC("cgroup/bind6")
int foreign_bind6(struct bpf_sock_addr *ctx) {
  return decide_bind(ctx);
}

SEC("sockops")
int foreign_sockops(struct bpf_sock_ops *ctx) {
  switch (ctx->op) {
  case BPF_SOCK_OPS_NEEDS_ECN:
    ctx->reply = 1;
    break;
  case BPF_SOCK_OPS_TCP_CONNECT_CB:
    bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_RTT_CB_FLAG);
    break;
  case BPF_SOCK_OPS_RTT_CB:
    see(SIGHT_ROUND_TRIP);
    break;
  case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
    if (ctx->sk && ctx->sk->mark == (FOREIGN_MARK | REPLY_MARK))
      see(SIGHT_ACCEPTED_WITH_BOTH_MARKS);
    break;
  }
  return 1;
}

/* The stores are volatile because clang would merge two neighbours into one of 8 bytes, which the verifier refuses. */
static __always_inline int answer(struct bpf_sockopt *ctx) {
  __u32 *out = ctx->optval;

  if ((void *)(out + 1) > ctx->optval_end)
    return 1;
  *out = ANSWER;
  *(volatile __s32 *)&ctx->optlen = sizeof(*out);
  *(volatile __s32 *)&ctx->retval = 0;
  return 1;
}

SEC("cgroup/getsockopt")
int foreign_getsockopt(struct bpf_sockopt *ctx) {
  if (ctx->level == LEVEL_SOCKET && (ctx->optname == RECEIVE_BUFFER || ctx->optname == NO_SUCH_OPTION))
    return answer(ctx);
  if (ctx->level == LEVEL_SOCKET && ctx->optname == SEND_BUFFER)
    return 0;
  if ((ctx->level == LEVEL_IP || ctx->level == LEVEL_IPV6) && ctx->optname == ORIGINAL_DST && ctx->sk &&
      ctx->sk->dst_port == bpf_htons(SHY_CLIENT_PORT))
    return 0;
  return 1;
}

/* Another's choice stands: without BPF_SK_LOOKUP_F_REPLACE it is EEXIST. */
SEC("sk_lookup")
int foreign_lookup(struct bpf_sk_lookup *ctx) {
  __u32 zero = 0;

  if (ctx->protocol != IPPROTO_TCP || ctx->local_port != STEERED_PORT)
    return SK_PASS;

  struct bpf_sock *listener = bpf_map_lookup_elem(&steered, &zero);
  if (!listener)
    return SK_PASS;
  if (!bpf_sk_assign(ctx, listener, 0))
    see(SIGHT_STEERED);
  bpf_sk_release(listener);
  return SK_PASS;
}

SEC("tc")
int foreign_loopback(struct __sk_buff *packet) {
  __u32 mark = packet->mark & MARK_MASK;

  if (mark == ZTUNNEL_MARK || mark == REPLY_MARK)
    packet->mark |= FOREIGN_MARK;
  return TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
