// Since which mainline release the kernel has what the programs use. It is for messages and documents only:
// kernel-features.ts asks the kernel itself whether it has a feature, because distributions backport features into
// older kernels. Source: the kernel's history (git log of net/core/filter.c, kernel/bpf/, include/uapi/linux/bpf.h).

/** By attach type, as libbpf names it; for tc programs, which have none, by program type. */
export const PROGRAMS_SINCE: Readonly<Record<string, string>> = {
  cgroup_sock_ops: '4.13',
  cgroup_inet4_bind: '4.17',
  cgroup_inet6_bind: '4.17',
  cgroup_inet4_connect: '4.17',
  cgroup_inet6_connect: '4.17',
  cgroup_udp4_sendmsg: '4.18',
  cgroup_udp6_sendmsg: '4.18',
  cgroup_udp4_recvmsg: '5.2',
  cgroup_udp6_recvmsg: '5.2',
  cgroup_getsockopt: '5.3',
  cgroup_inet4_getpeername: '5.8',
  cgroup_inet6_getpeername: '5.8',
  cgroup_inet4_getsockname: '5.8',
  cgroup_inet6_getsockname: '5.8',
  sk_lookup: '5.9',
};

/** Links to a cgroup (af6eea57437a), and links of sk_lookup to a network namespace (e9ddbb7707ff). */
export const CGROUP_LINK_SINCE = '5.7';
export const SK_LOOKUP_LINK_SINCE = '5.9';

/** By map type. */
export const MAPS_SINCE: Readonly<Record<string, string>> = {
  hash: '3.19',
  array: '3.19',
  percpu_array: '4.6',
  percpu_hash: '4.6',
  lru_hash: '4.10',
  lpm_trie: '4.11',
  sockhash: '4.18',
  sk_storage: '5.2',
  ringbuf: '5.8',
};

/** Helpers of every kind of program, unless the table below says otherwise. */
const EVERYWHERE: Readonly<Record<string, string>> = {
  map_lookup_elem: '3.19',
  map_update_elem: '3.19',
  map_delete_elem: '3.19',
  ktime_get_ns: '4.1',
  get_prandom_u32: '4.1',
  ringbuf_reserve: '5.8',
  ringbuf_submit: '5.8',
  ringbuf_discard: '5.8',
};

/** By program type: since when programs of that type may call a helper. */
const BY_TYPE: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  cgroup_sock_addr: {
    get_socket_cookie: '4.19', // d692f1138a4b
    sk_release: '5.0', // 6c49e65e0d46
    sk_storage_get: '5.3', // fb85c4a730af, which gave the context its socket
    sk_storage_delete: '5.3',
    get_netns_cookie: '5.7', // f318903c0bf4
    get_current_cgroup_id: '5.7', // 0f09abd105da
    get_current_ancestor_cgroup_id: '5.7',
    get_current_pid_tgid: '5.7', // 834ebca831d3
    get_current_comm: '5.7',
    setsockopt: '5.11', // 427167c0b064: in bind; 5.8 in connect
    getsockopt: '5.11',
    get_retval: '6.1', // bed89185af0d: 5.18 had them for other cgroup programs only
    set_retval: '6.1',
  },
  sock_ops: {
    setsockopt: '4.13',
    sock_ops_cb_flags_set: '4.16',
    sock_hash_update: '4.18',
    get_socket_cookie: '4.19',
    sk_storage_get: '5.3', // 1314ef561102
    sk_storage_delete: '5.3',
    get_netns_cookie: '5.15', // 6cf1770d63dd
  },
  cgroup_sockopt: { sk_storage_get: '5.3', sk_storage_delete: '5.3', get_netns_cookie: '5.15' },
  sk_lookup: {
    map_lookup_elem: '5.9', // of a SOCKHASH: 5.8 (64d85290d79c)
    sk_assign: '5.9',
    sk_release: '5.9',
  },
};

export function helperSince(programType: string, helper: string): string | undefined {
  return BY_TYPE[programType]?.[helper] ?? EVERYWHERE[helper];
}
