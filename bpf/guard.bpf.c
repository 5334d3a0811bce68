/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The guard: knows without an agent which new pod is expected in the mesh. Its maps are those of sluice.bpf.o, in which
 * connect() and bind() ask them.
 *
 * The kubelet makes a cgroup for each pod and a directory for its logs, before the runtime makes anything of it. The
 * directory's name tells the pod's namespace and UID, the cgroup's name its UID. A pod is expected when both have been
 * seen, in whichever order, and its namespace is in the mesh; until its cgroup is removed. What the pod's own label
 * says only the agent knows, and its entry for the pod's cgroup has the last word.
 *
 * It lets the listeners of such pods go (held.h), too, and refuses those that could not be held. */
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "caller.h"
#include "held.h"
#include "pod_path.h"
#include "socket_option.h"

/* What is read of the kernel's own structures; CO-RE finds the members wherever this kernel has them. */
#define KERNEL __attribute__((preserve_access_index))
struct kernfs_node {
  __u64 id;
} KERNEL;
struct cgroup_root {
  int hierarchy_id;
} KERNEL;
struct cgroup;
struct cgroup_subsys_state {
  struct cgroup *cgroup;
  struct cgroup_subsys_state *parent;
} KERNEL;
struct cgroup {
  struct cgroup_subsys_state self;
  struct kernfs_node *kn;
  struct cgroup_root *root;
} KERNEL;
struct seq_file;
struct bpf_iter_meta {
  struct seq_file *seq;
} KERNEL;
struct user_namespace;
struct net {
  struct user_namespace *user_ns;
  __u64 net_cookie;
} KERNEL;
typedef struct {
  struct net *net;
} possible_net_t;
struct sock_common {
  unsigned short skc_family;
  unsigned char skc_state;
  int skc_bound_dev_if;
  __u16 skc_num;
  possible_net_t skc_net;
} KERNEL;
struct sock {
  struct sock_common __sk_common;
  __u16 sk_protocol;
} KERNEL;
struct socket {
  struct sock *sk;
} KERNEL;
/* kernel_cap_t, whose members have changed and whose size has not (6.3). */
struct capabilities {
  __u32 low, high;
};
struct cred {
  struct capabilities cap_effective;
  struct user_namespace *user_ns;
} KERNEL;
struct task_struct {
  const struct cred *cred;
} KERNEL;
struct bpf_iter__tcp {
  struct bpf_iter_meta *meta;
  struct sock_common *sk_common;
} KERNEL;

/* include/net/tcp_states.h */
#define STATE_LISTEN 10

/* linux/in.h: IPPROTO_MPTCP; older headers lack it. */
#define PROTOCOL_MPTCP 262

/* linux/capability.h: CAP_NET_RAW. */
#define NET_RAW (1U << 13)

/* A negative errno: what bind() says, too, of what could not be held. */
#define NOT_PERMITTED (-1)

/* On hybrid machines cgroups of the first version have hierarchies of their own. */
#define UNIFIED_HIERARCHY 0

/* The kubelet, the runtime and systemd are root's and outside of all pods. A process of a pod might make such
 * directories itself, which would keep others from the network. */
static __always_inline bool is_believed(void) {
  if ((__u32)bpf_get_current_uid_gid())
    return false;
#pragma clang loop unroll(disable)
  for (int level = 1; level <= DEEPEST_LEVEL; level++) {
    __u64 cgroup = bpf_get_current_ancestor_cgroup_id(level);

    if (!cgroup)
      return true;
    if (bpf_map_lookup_elem(&pods_parents, &cgroup))
      return false;
  }
  return true;
}

static __always_inline struct path_buffer *path_buffer(void) {
  __u32 zero = 0;

  return bpf_map_lookup_elem(&path_buffers, &zero);
}

/* Of a path in the buffer, whose size bpf_probe_read_*_str() has returned; NULL if it is too short to be a pod's. clang
 * must not add to the buffer's address before the comparison, which tells the verifier the bounds. */
static __always_inline const char *end_of_path(const struct path_buffer *buffer, long size) {
  __u64 beyond = size - 1 - SHORTEST_PATH;

  if (beyond >= PATH_BYTES - SHORTEST_PATH)
    return NULL;
  asm volatile("" : "+r"(beyond));
  return buffer->path + SHORTEST_PATH + beyond;
}

static __always_inline void remember(void *map, const void *key, const void *value) {
  if (bpf_map_update_elem(map, key, value, BPF_ANY))
    count_event(EVENT_EXPECTED_FULL);
}

struct waiting_pod {
  struct pod_uid uid;
  __u64 since;
};

static long find_longest_waiting(void *map, const struct pod_uid *uid, const __u64 *since,
                                 struct waiting_pod *longest) {
  if (*since < longest->since)
    *longest = (struct waiting_pod){.uid = *uid, .since = *since};
  return 0;
}

/* Pods that never get a cgroup, or whose logs are made after its end, leave their entries behind until an agent comes.
 * So when there is no room, the one goes that has waited longest. */
static __always_inline void expect_pod(const struct pod_uid *uid) {
  struct waiting_pod longest = {.since = ~0ULL};
  __u64 now = bpf_ktime_get_ns();

  if (!bpf_map_update_elem(&expected_pods, uid, &now, BPF_ANY))
    return;
  count_event(EVENT_EXPECTED_FULL);
  bpf_for_each_map_elem(&expected_pods, find_longest_waiting, &longest, 0);
  bpf_map_delete_elem(&expected_pods, &longest.uid);
  bpf_map_update_elem(&expected_pods, uid, &now, BPF_ANY);
}

/* Where the log directory and the cgroup are made at once on two processors, each has to see what the other has
 * written before it looked. */
static __always_inline void see_others(void) {
  __u64 anything = 0;

  __sync_fetch_and_add(&anything, 1);
  asm volatile("" : : "r"(&anything) : "memory");
}

/* Whichever came second, the log directory or the cgroup: from now on the cgroup tells. */
static __always_inline void expect_cgroup(const struct pod_uid *uid, __u64 cgroup) {
  __u32 expected = 1;

  remember(&expected_cgroups, &cgroup, &expected);
  bpf_map_delete_elem(&expected_pods, uid);
}

static __always_inline void see_directory(const char *user_path) {
  __u32 zero = 0;
  const struct guard_config *guard = bpf_map_lookup_elem(&guard_config, &zero);
  struct path_buffer *buffer = path_buffer();

  if (!guard || !buffer)
    return;

  long size = bpf_probe_read_user_str(buffer->path, sizeof(buffer->path), user_path);
  if (size < 0) {
    if (is_believed())
      count_event(EVENT_PATH_UNREAD);
    return;
  }

  struct namespace_name namespace = {};
  struct pod_uid uid = {};
  const char *end = end_of_path(buffer, size);
  if (!end || !read_namespace(buffer->path, guard, &namespace) || !pod_of_log_directory(end, &uid) ||
      !bpf_map_lookup_elem(&meshed_namespaces, &namespace) || !is_believed())
    return;

  __u64 cgroup;
  expect_pod(&uid);
  see_others();
  if (READ(&pod_cgroups, &uid, &cgroup))
    expect_cgroup(&uid, cgroup);
}

/* Documentation/trace/ftrace.rst: the arguments of a system call's tracepoint. */
struct mkdirat_arguments {
  __u64 common;
  __u64 number;
  __u64 directory;
  const char *path;
};
struct mkdir_arguments {
  __u64 common;
  __u64 number;
  const char *path;
};

SEC("tp/syscalls/sys_enter_mkdirat")
int sluice_mkdirat(struct mkdirat_arguments *ctx) {
  see_directory(ctx->path);
  return 0;
}

SEC("tp/syscalls/sys_enter_mkdir")
int sluice_mkdir(struct mkdir_arguments *ctx) {
  see_directory(ctx->path);
  return 0;
}

/* False if a cgroup is not below the node's. */
static __always_inline bool see_ancestors(struct cgroup *cgroup, __u64 root, bool *is_in_pods) {
  struct cgroup_subsys_state *state = cgroup->self.parent;

#pragma clang loop unroll(disable)
  for (int level = 0; level < DEEPEST_LEVEL && state; level++) {
    __u64 id = state->cgroup->kn->id;

    if (bpf_map_lookup_elem(&pods_parents, &id))
      *is_in_pods = true;
    if (id == root)
      return true;
    state = state->parent;
  }
  return !root;
}

/* A cgroup that has been made or removed, with its path in the buffer. */
struct seen_cgroup {
  struct path_buffer *buffer;
  __u64 id;
  __u64 length; /* of the path */
  struct pod_uid uid;
  bool is_pod; /* pod-level: uid is its pod's */
};

/* The path comes from the tracepoint, because the kernel's own record of it has changed (kernfs_node). False if it is
 * not one of a pod's, or not one of this node's. The tracepoints run one at a time on the whole machine
 * (TRACE_CGROUP_PATH of kernel/cgroup/cgroup-internal.h). */
static __always_inline bool see_cgroup(struct cgroup *cgroup, const char *path, struct seen_cgroup *seen) {
  __u32 zero = 0;
  const struct guard_config *guard = bpf_map_lookup_elem(&guard_config, &zero);
  bool is_in_pods = false;

  seen->buffer = path_buffer();
  if (cgroup->root->hierarchy_id != UNIFIED_HIERARCHY || !guard || !seen->buffer ||
      !see_ancestors(cgroup, guard->root, &is_in_pods))
    return false;

  long size = bpf_probe_read_kernel_str(seen->buffer->path, sizeof(seen->buffer->path), path);

  const char *end = end_of_path(seen->buffer, size);
  if (!end)
    return false;
  seen->length = size - 1;
  seen->id = cgroup->kn->id;
  seen->is_pod = pod_of_cgroup(end, &seen->uid);
  return seen->is_pod || is_in_pods;
}

static __always_inline void report_cgroup(const struct seen_cgroup *seen, enum pod_event_kind kind) {
  seen->buffer->event = (struct pod_event){.cgroup_id = seen->id, .kind = kind};
  if (seen->length < PATH_BYTES &&
      bpf_ringbuf_output(&pod_events, seen->buffer, sizeof(seen->buffer->event) + seen->length, 0))
    count_event(EVENT_POD_EVENT_LOST);
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(sluice_cgroup_mkdir, struct cgroup *cgroup, const char *path) {
  struct seen_cgroup seen = {};

  /* What a pod makes inside itself is the pod's own business. */
  if (!see_cgroup(cgroup, path, &seen) || !is_believed())
    return 0;
  if (seen.is_pod) {
    remember(&pod_cgroups, &seen.uid, &seen.id);
    see_others();
    if (bpf_map_lookup_elem(&expected_pods, &seen.uid))
      expect_cgroup(&seen.uid, seen.id);
  }
  report_cgroup(&seen, POD_EVENT_CGROUP_MADE);
  return 0;
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(sluice_cgroup_rmdir, struct cgroup *cgroup, const char *path) {
  struct seen_cgroup seen = {};
  __u64 known;

  if (!see_cgroup(cgroup, path, &seen))
    return 0;
  /* Whoever removes it: its id is not given to another one. */
  bpf_map_delete_elem(&expected_cgroups, &seen.id);
  if (seen.is_pod && READ(&pod_cgroups, &seen.uid, &known) && known == seen.id) {
    bpf_map_delete_elem(&pod_cgroups, &seen.uid);
    /* The agent may have told of it when it was there already. */
    bpf_map_delete_elem(&expected_pods, &seen.uid);
  }
  if (is_believed())
    report_cgroup(&seen, POD_EVENT_CGROUP_REMOVED);
  return 0;
}

/* Runs over the TCP sockets of the network namespace of whoever reads it, and takes those from the loopback that need
 * not be held any more. It writes one byte for each: 1, or 0 if it could not, because the reader lacks CAP_NET_RAW. */
SEC("iter/tcp")
int sluice_let_go(struct bpf_iter__tcp *ctx) {
  struct sock_common *sk = ctx->sk_common;
  if (!sk || sk->skc_state != STATE_LISTEN)
    return 0;

  struct held_listener *held = bpf_sk_storage_get(&held_listeners, sk, NULL, 0);
  if (!held || !held->is_held || !is_let_go(held->pod, held->netns_cookie))
    return 0;

  __u32 device = held->device;
  bool let_go = !bpf_setsockopt(sk, LEVEL_SOCKET, BOUND_DEVICE, &device, sizeof(device));
  held->is_held = !let_go;
  bpf_seq_write(ctx->meta->seq, &let_go, sizeof(let_go));
  return 0;
}

static __always_inline bool is_tcp(const struct sock *sk) {
  __u16 family = sk->__sk_common.skc_family;

  return (family == FAMILY_INET || family == FAMILY_INET6) &&
         (sk->sk_protocol == IPPROTO_TCP || sk->sk_protocol == PROTOCOL_MPTCP);
}

/* Whether the kernel would let the calling task take a socket of the namespace from its device (sock_bindtoindex_locked
 * of net/core/sock.c). A task of a user namespace above the namespace's owner might, too. */
static __always_inline bool may_unbind(const struct net *net) {
  const struct cred *cred = ((struct task_struct *)bpf_get_current_task_btf())->cred;

  return cred->user_ns == net->user_ns && (cred->cap_effective.low & NET_RAW);
}

/* True for a socket that listen.bpf.c could not bind to the loopback: without a bind() nobody has marked it, and only
 * who has CAP_NET_RAW takes it from another device, which it may have got since. A device is an MPTCP socket's own,
 * too. */
static __always_inline bool cannot_be_held(const struct sock *sk) {
  int device = sk->__sk_common.skc_bound_dev_if;

  if (!sk->__sk_common.skc_num)
    return true;
  return device && device != LOOPBACK_INDEX && !may_unbind(sk->__sk_common.skc_net.net);
}

/* As bind() sees it: in the namespace of a pod that is not pending, the caller does not matter. */
static __always_inline bool is_of_held_pod(__u64 netns_cookie) {
  __u32 zero = 0;
  const struct agent_config *agent = bpf_map_lookup_elem(&config, &zero);
  struct cgroup_info caller = {}, of_netns = {};
  bool is_decided;

  if (!agent)
    return false;

  bool is_known = READ(&netns_info_map, &netns_cookie, &of_netns) && of_netns.is_in_mesh;
  if (is_known && !(of_netns.flags & PENDING))
    return false;
  if (!find_caller(agent, netns_cookie, &caller, &is_decided))
    caller = (struct cgroup_info){};

  __u64 pod = pod_to_hold(&caller, is_decided, is_known);
  return pod && !is_let_go(pod, netns_cookie);
}

/* Runs before security_socket_listen() of the kernel, whose answer it may give instead. No socket storage can be read
 * here (bpf_sk_storage_tracing_allowed), so that it asks who listens and not who has called bind(). */
SEC("fmod_ret/security_socket_listen")
int BPF_PROG(sluice_refuse_listen, struct socket *socket) {
  const struct sock *sk = socket->sk;

  if (!sk || !is_tcp(sk) || sk->__sk_common.skc_state == STATE_LISTEN || !cannot_be_held(sk))
    return 0;
  return is_of_held_pod(sk->__sk_common.skc_net.net->net_cookie) ? NOT_PERMITTED : 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
