/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Every map of the datapath and the types in them. The TypeScript codecs are generated from these definitions, so a
 * field is added here and nowhere else; maps.md, which is generated too, says who writes a map and who reads it.
 * Addresses are 16 bytes in network order; an IPv4 address is v4-mapped (RFC 4291 2.5.5.2), so that word 2 is
 * 0x0000ffff in network order. */
#ifndef SLUICE_MAPS_H
#define SLUICE_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Capacities are defaults: the agent's configuration overrides them before the object is loaded. */
#define CGROUP_CAPACITY 16384
#define NETNS_CAPACITY  4096
#define POD_IP_CAPACITY 4096
/* Addresses of all captured network namespaces together, and their devices with an address: four for each of the pods
 * that NETNS_CAPACITY allows. */
#define OWN_ADDRESS_CAPACITY 16384
/* Traffic rules of all workloads together, in each of the maps that hold them. */
#define RULE_CAPACITY 16384
/* Redirected connections between SYN and accept, on the whole node. */
#define HANDOFF_CAPACITY 65536
/* Connections past the inbound capture between SYN and acceptance (or close), on the whole node. */
#define EXEMPT_CAPACITY 65536
/* Namespaces of the whole cluster. */
#define NAMESPACE_CAPACITY 16384
/* Pods of the node whose cgroup or log directory has been seen, the finished ones that the kubelet keeps included. */
#define POD_CAPACITY 4096
/* Two for each pod. It is not configurable: a new map would begin without the sockets, which only ztunnel's process
 * has. */
#define LISTENER_CAPACITY 16384
/* Bytes; a power of two and a multiple of the page size. */
#define DECISIONS_BYTES (1 << 20)
/* Bytes; the same. Room for more than a thousand cgroups. */
#define POD_EVENTS_BYTES (1 << 18)

/* Bits of cgroup_info.flags and local_pod.flags. The first three are the project's fixed interface. */
enum workload_flag {
  AMBIENT = 1 << 0,
  DNS_CAPTURE = 1 << 1,
  ZTUNNEL = 1 << 2,
  /* ztunnel listens in the pod's own network namespace. */
  IN_POD = 1 << 3,
  /* The pod's state is pending: it is wanted in the mesh and not in it yet, usually because ztunnel has not
   * acknowledged it. */
  PENDING = 1 << 4,
  KUBELET = 1 << 5,
  /* The workload has traffic rules; without this flag no rule is looked up. */
  EXCLUDES = 1 << 6,
  /* What comes in for the workload goes to its application directly (ambient.istio.io/bypass-inbound-capture). */
  BYPASS_INBOUND = 1 << 7,
  /* Outbound: only destinations in included_cidrs and included ports are captured. */
  ONLY_INCLUDED_OUTBOUND = 1 << 8,
  /* Inbound: only included ports are captured. */
  ONLY_INCLUDED_INBOUND = 1 << 9,
  /* What goes out of the pod is captured by route: connect() marks the socket and changes nothing else. */
  ROUTE = 1 << 10,
  /* What becomes of a new connection of the pod, or to it, that cannot reach ztunnel now: the pod is pending, or no
   * ztunnel listens for it. With neither of the two it is held: it waits, and goes on when ztunnel listens. */
  REFUSE_WAITING = 1 << 11,
  /* It goes directly, past the mesh. REFUSE_WAITING wins over it. */
  OPEN_WAITING = 1 << 12,
  /* Of a network namespace that lies inside a pod and is not the pod's own, such as a nested container engine's: what
   * is dialled there is not captured. Only in netns_info_map, and without IN_POD. */
  NESTED = 1 << 13,
};

/* A value of routed_netns: these bits, and above them the cookie of the namespace again. One load reads both, so that
 * the value of another key, which the memory may hold by then (read.h), is never taken for this one's. The kernel
 * counts cookies from 1 upwards, so that their two highest bits are free. */
enum routed_family {
  ROUTED_IPV4 = 1 << 0,
  ROUTED_IPV6 = 1 << 1,
};
#define ROUTED_COOKIE_SHIFT 2

enum capture_mark {
  /* Value and mask of the socket mark that a rule of the pod's network namespace routes to ztunnel. It lies outside of
   * what Istio (0xfff) and kube-proxy (0xc000) use, and no packet with it leaves the namespace. */
  ROUTE_MARK = 1 << 28,
};

enum setting {
  SETTING_ZTUNNEL_IPV4 = 1,
  SETTING_ZTUNNEL_IPV6 = 2,
};

enum policy_bit {
  /* What would go to a ztunnel in another pod goes directly while none is known, instead of being refused. For a pod
   * with a ztunnel of its own, REFUSE_WAITING and OPEN_WAITING decide. */
  POLICY_NO_ZTUNNEL_OPEN = 1 << 0,
  /* A socket with mark & 0xfff == 0x539 counts as ztunnel's. */
  POLICY_ZTUNNEL_BY_MARK = 1 << 1,
  /* Every process in the host's network namespace counts as a prober, not only the kubelet. */
  POLICY_PROBES_FROM_HOST = 1 << 3,
  /* A pod that is expected in the mesh, and about which the agent has not decided yet, connects and is reached
     directly. */
  POLICY_UNKNOWN_OPEN = 1 << 4,
};

enum verdict {
  VERDICT_PASS,
  VERDICT_REFUSE,
  /* To ztunnel's outbound port, 15001. */
  VERDICT_REDIRECT,
  /* To ztunnel's inbound port, 15006. */
  VERDICT_TO_MESH,
  /* To ztunnel's resolver on the pod's loopback, 15053. */
  VERDICT_DNS,
  /* To ztunnel's listener on 15001 by the pod's own routing: the socket is marked, and its destination stays. */
  VERDICT_ROUTE,
  /* As VERDICT_ROUTE or, with another destination, as VERDICT_REDIRECT, but ztunnel does not listen yet: the SYN waits
   * for it. */
  VERDICT_HOLD,
  VERDICTS,
};

/* The row of the decision table that decided; the table's order is in decision.h. */
enum reason {
  REASON_ZTUNNEL,
  REASON_PROBE,
  REASON_PENDING,
  REASON_TO_MESH,
  REASON_NOT_IN_MESH,
  REASON_LOOPBACK,
  REASON_SELF,
  REASON_EXCLUDED,
  REASON_NO_ZTUNNEL,
  REASON_REDIRECT,
  REASON_OTHER_NETNS,
  REASON_DNS,
  /* The pod is captured by route, and its network namespace has no route to ztunnel; or the caller is in a network
   * namespace that is not its pod's, and about which the agent has not decided. */
  REASON_UNPREPARED,
  /* The pod's namespace is in the mesh, and the agent has not decided about the pod yet. */
  REASON_UNKNOWN,
  REASONS,
};

/* Things worth counting that are not decisions. */
enum event {
  /* An accepted connection was given its original destination. */
  EVENT_ORIGIN_MOVED,
  /* ztunnel asked for an original destination and there is none: a direct dial to its port, or a hand-off that was
   * lost. */
  EVENT_ORIGIN_MISSING,
  /* origin_handoff is full: ztunnel sees its own address instead of the original destination, and rejects. */
  EVENT_HANDOFF_FULL,
  /* No memory for the socket's storage: a connecting socket is refused, an accepted one has no original destination. */
  EVENT_STORAGE_FAILED,
  /* The ring buffer was full: a sampled decision is not in it. */
  EVENT_DECISION_LOST,
  /* exempt_tuples is full: a probe lands on ztunnel, and ztunnel's own dial to the application fails. */
  EVENT_EXEMPT_FULL,
  /* A listener of ztunnel could not be captured: what comes in for its pod waits, and is not accepted. */
  EVENT_LISTENER_LOST,
  /* A datagram for a name server was sent to ztunnel's resolver, by a socket that is not connected. */
  EVENT_DNS_ASKED,
  /* An answer of ztunnel's resolver was given the address of the name server that had been asked. */
  EVENT_DNS_ANSWERED,
  /* expected_pods is full: the pod that has waited longest for its cgroup is given up. Or pod_cgroups or
   * expected_cgroups is: a new pod is not held while nobody has decided about it. */
  EVENT_EXPECTED_FULL,
  /* The path of a new directory could not be read: if it was that of a pod's logs, the pod is not held. */
  EVENT_PATH_UNREAD,
  /* pod_events is full: the agent does not hear of a pod's cgroup by it. */
  EVENT_POD_EVENT_LOST,
  /* A listener of a pod about which nobody has decided yet could not be bound to the loopback: others reach it. */
  EVENT_LISTENER_UNHELD,
  EVENTS,
};

/* What becomes of a new connection that arrives in a pod's network namespace. */
enum inbound_verdict {
  /* To the listener that it was meant for. */
  INBOUND_PASS,
  /* To a listener of ztunnel. */
  INBOUND_STEER,
  INBOUND_REFUSE,
  /* To nobody, and without an answer: the client sends its SYN again. */
  INBOUND_HOLD,
  INBOUND_VERDICTS,
};

/* The row of the inbound table that decided. */
enum inbound_reason {
  INBOUND_LOOPBACK,
  INBOUND_NOT_IN_MESH,
  INBOUND_OUTBOUND_LISTENER,
  INBOUND_HBONE,
  INBOUND_EXEMPT,
  INBOUND_SELF,
  INBOUND_PENDING,
  INBOUND_BYPASS,
  INBOUND_EXCLUDED,
  INBOUND_STEERED,
  INBOUND_NO_LISTENER,
  INBOUND_OUTBOUND,
  INBOUND_REASONS,
};

struct address {
  __u32 ip[4];
};

struct cgroup_info {
  /* Cgroup id of the pod-level cgroup, in the entry of each of its containers too. */
  __u64 id;
  __u32 is_in_mesh;
  __u32 cgroup_ip[4];
  __u16 flags;
  __u16 detected_flags;
};

struct local_pod {
  /* 0 while user space does not know it. */
  __u64 netns_cookie;
  __u16 flags;
};

/* An address is zero if the pod has none of the family. */
struct pod_addresses {
  struct address ipv4;
  struct address ipv6;
};

/* One value for the node. */
struct agent_config {
  __u64 host_netns_cookie;
  /* Bit n: cgroup_info_map has entries for cgroups at depth n below the root. */
  __u32 cgroup_levels;
  __u32 policy;
  /* Report one decision in this many; 0 reports none. */
  __u32 sample_every;
};

/* Istio's traffic.sidecar.istio.io/{include,exclude}{Outbound,Inbound}Ports. */
enum port_rule_kind {
  RULE_EXCLUDE_OUTBOUND = 1,
  RULE_INCLUDE_OUTBOUND = 2,
  RULE_EXCLUDE_INBOUND = 3,
  RULE_INCLUDE_INBOUND = 4,
};

/* Keys have no padding, because its bytes would count. So a workload is two words here, low and high. */
struct port_rule {
  __u32 workload[2];
  __u16 port; /* host order */
  __u16 kind; /* enum port_rule_kind */
};

struct cidr_rule {
  /* Of workload and ip together: 64 bits for the workload, then the prefix of the v4-mapped address. */
  __u32 prefix_length;
  __u32 workload[2];
  __u32 ip[4];
};

enum origin_role {
  /* The socket that called connect(): getpeername() answers with the origin. */
  ORIGIN_DIALLED,
  /* The socket that ztunnel accepted: getsockopt(SO_ORIGINAL_DST) answers with the origin. */
  ORIGIN_ACCEPTED,
  /* The socket that connected to a name server and was sent to ztunnel's resolver: getpeername() answers with the
   * origin, and nobody asks for it at the other end. */
  ORIGIN_ASKED,
};

struct origin {
  __u32 ip[4];
  __u16 port; /* network order */
  __u16 role; /* enum origin_role */
};

/* glibc and musl use up to three name servers and ask each for two record types; this is the next power of two. */
#define ASKED_SERVERS 8

/* Name servers in the order in which they were asked; those from answered to asked are outstanding. Both numbers only
 * grow, and wrap. */
struct asked_servers {
  __u32 asked;
  __u32 answered;
  struct address servers[ASKED_SERVERS];
};

/* An IPv6 socket asks in both families; an answer has the family of its server. */
struct datagram_asker {
  struct asked_servers ipv4;
  struct asked_servers ipv6;
};

/* As the connecting side sees it. Ports in host order. */
struct tuple {
  __u32 local_ip[4];
  __u32 remote_ip[4];
  __u16 local_port;
  __u16 remote_port;
};

struct handoff {
  /* The socket that wrote the entry: a socket deletes only its own. */
  __u64 socket_cookie;
  struct origin origin;
  __u32 pad;
};

/* A connection that the pod's namespace must not capture. Keys have no padding: the cookie is two words, low and high.
 */
struct exempt_key {
  __u32 netns[2]; /* where the connection arrives */
  struct tuple tuple;
};

/* Keys have no padding: the cookie is two words, low and high. */
struct routed_device {
  __u32 netns[2];
  __u32 ifindex; /* of the device that a socket is bound to; 0: of none */
};

struct own_address {
  __u32 netns[2];
  __u32 ip[4];
};

struct listener_key {
  __u64 netns_cookie;
  __u64 port; /* host order */
};

/* Where listeners has the socket that holds connections: 0 is the cookie of no namespace, and no port. */
#define HOLDING_NETNS 0
#define HOLDING_PORT  0

/* What the guard knows a pod by: a UUID, or the 32 hexadecimal digits of a static pod with zeros in front. Cgroups
 * of systemd have underscores where the API has dashes: here they are dashes. */
#define UID_BYTES        36
#define STATIC_UID_BYTES 32
struct pod_uid {
  char text[UID_BYTES];
};

/* A label of DNS (RFC 1123) with zeros behind it. */
struct namespace_name {
  char text[64];
};

#define POD_LOGS_BYTES 128
struct guard_config {
  /* The cgroup below which the node's pods are; 0: anywhere. A machine may have several nodes (kind). */
  __u64 root;
  /* The kubelet's podLogsDir, without a slash at its end. */
  char pod_logs[POD_LOGS_BYTES];
  __u32 pod_logs_length;
  /* 1: no listener is held or refused, by policy, because nobody could let it go, or because the guard is about to be
   * removed. */
  __u32 lets_all_go;
};

/* A socket that a task of a pod has bound which was not to be reached yet. */
struct held_listener {
  __u64 pod; /* pod-level cgroup */
  __u64 netns_cookie;
  /* The ifindex that the socket was bound to, which it gets back; 0 for none. */
  __u32 device;
  __u32 is_held;
};

enum pod_event_kind {
  /* A pod's cgroup, or one inside it, has been made: its path follows the record. */
  POD_EVENT_CGROUP_MADE,
  /* The same, removed. */
  POD_EVENT_CGROUP_REMOVED,
  /* A socket that was held began to listen when its pod was reachable already, and has to be let go. */
  POD_EVENT_LISTENER_LATE,
};

struct pod_event {
  __u64 cgroup_id;
  __u64 netns_cookie; /* of a listener */
  __u32 kind;         /* enum pod_event_kind */
  __u32 unused;
};

/* As long as the kernel lets the path of a cgroup be in its tracepoints (TRACE_CGROUP_PATH_LEN of linux/cgroup.h). */
#define PATH_BYTES 1024
struct path_buffer {
  struct pod_event event;
  char path[PATH_BYTES];
};

struct decision_record {
  __u64 timestamp_ns; /* CLOCK_MONOTONIC */
  __u64 cgroup_id;    /* of the calling task */
  __u64 workload;     /* cgroup_info.id, 0 if the caller is unknown */
  __u64 netns_cookie; /* of the socket */
  __u64 socket_cookie;
  __u32 pid; /* thread group id, in the initial pid namespace */
  __u32 destination[4];
  __u16 port;   /* host order */
  __u8 verdict; /* enum verdict */
  __u8 reason;  /* enum reason */
  char comm[16];
};

/* Callers by their cgroups. Never an LRU: an eviction would silently take a pod out of the mesh. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, CGROUP_CAPACITY);
  __type(key, __u64); /* cgroup id */
  __type(value, struct cgroup_info);
} cgroup_info_map SEC(".maps");

/* Key: enum setting. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 16);
  __type(key, __u32);
  __type(value, struct address);
} settings SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct agent_config);
} config SEC(".maps");

/* Callers whose cgroup tells nothing, such as a process that entered the pod. A namespace whose pod enters the mesh or
 * leaves it may have an entry that is not in the mesh, for what comes in alone. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, NETNS_CAPACITY);
  __type(key, __u64); /* netns cookie */
  __type(value, struct cgroup_info);
} netns_info_map SEC(".maps");

/* The meshed pods of this node by each of their IPs. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, POD_IP_CAPACITY);
  __type(key, struct address);
  __type(value, struct local_pod);
} local_pods SEC(".maps");

/* Where ztunnel listens for a pod with IN_POD, which is at the pod's own IPs. It is the inverse of local_pods, because
 * connect() knows the caller's namespace. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, POD_IP_CAPACITY);
  __type(key, __u64); /* netns cookie */
  __type(value, struct pod_addresses);
} pod_addresses SEC(".maps");

/* Every address of a captured network namespace, the pod's IPs and others. Only the keys count. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, OWN_ADDRESS_CAPACITY);
  __type(key, struct own_address);
  __type(value, __u8);
} own_addresses SEC(".maps");

/* Where rules and routes bring a marked connection to ztunnel, by network namespace and by the device that its socket
 * is bound to. The agent writes an entry when it has seen that they are there, and takes it back as soon as the kernel
 * says that one of them is gone. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, OWN_ADDRESS_CAPACITY);
  __type(key, struct routed_device);
  __type(value, __u64); /* see enum routed_family */
} routed_netns SEC(".maps");

/* Only the keys count. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, RULE_CAPACITY);
  __type(key, struct port_rule);
  __type(value, __u8);
} port_rules SEC(".maps");

/* Destinations that a workload reaches without the mesh. */
struct {
  __uint(type, BPF_MAP_TYPE_LPM_TRIE);
  __uint(max_entries, RULE_CAPACITY);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct cidr_rule);
  __type(value, __u8); /* family of the range: 4 or 6 */
} excluded_cidrs SEC(".maps");

/* For workloads with ONLY_INCLUDED_OUTBOUND: all that is captured. */
struct {
  __uint(type, BPF_MAP_TYPE_LPM_TRIE);
  __uint(max_entries, RULE_CAPACITY);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct cidr_rule);
  __type(value, __u8); /* family of the range: 4 or 6 */
} included_cidrs SEC(".maps");

/* Where the socket's connection was meant to go. The entry lives and dies with the socket. */
struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, struct origin);
} socket_origin SEC(".maps");

/* The name servers that a socket asks without being connected to one. Sending and receiving both lock the socket. */
struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, struct datagram_asker);
} datagram_askers SEC(".maps");

/* From the connecting socket's SYN to the accepting socket's establishment. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, HANDOFF_CAPACITY);
  __type(key, struct tuple);
  __type(value, struct handoff);
} origin_handoff SEC(".maps");

/* The netns cookie of the pod whose capture the socket's connection passes. */
struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, __u64);
} socket_exemption SEC(".maps");

/* The connections of socket_exemption between SYN and acceptance. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, EXEMPT_CAPACITY);
  __type(key, struct exempt_key);
  __type(value, __u64); /* socket cookie */
} exempt_tuples SEC(".maps");

/* Sockets that ztunnel bound to one of its ports. */
struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, __u32);
} ztunnel_sockets SEC(".maps");

/* The sockets of ztunnel_sockets that listen; user space adds those that listened before the programs were there, and
 * the socket that holds connections, which is in another namespace. The kernel removes a socket when it closes. */
struct {
  __uint(type, BPF_MAP_TYPE_SOCKHASH);
  __uint(max_entries, LISTENER_CAPACITY);
  __type(key, struct listener_key);
  __type(value, __u64); /* user space writes a descriptor and reads a socket cookie */
} listeners SEC(".maps");

/* struct decision_record. */
struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, DECISIONS_BYTES);
} decisions SEC(".maps");

/* What the guard (guard.bpf.c) has to know from the agent. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct guard_config);
} guard_config SEC(".maps");

/* The namespaces whose pods belong to the mesh unless a pod's own label says otherwise. Only the keys count. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, NAMESPACE_CAPACITY);
  __type(key, struct namespace_name);
  __type(value, __u8);
} meshed_namespaces SEC(".maps");

/* The cgroups right above the QoS classes: what is below them is a pod's. Only the keys count. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 16);
  __type(key, __u64); /* cgroup id */
  __type(value, __u8);
} pods_parents SEC(".maps");

/* The pods whose log directory has been made, in a namespace of the mesh, or of which the agent has told, and that have
 * no cgroup yet. Neither this map nor the next two are an LRU: what they forget would not be held. When this one is
 * full, the pod goes that has waited longest. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, POD_CAPACITY);
  __type(key, struct pod_uid);
  __type(value, __u64); /* when it was seen: nanoseconds, CLOCK_MONOTONIC */
} expected_pods SEC(".maps");

/* The pod-level cgroups of all pods that have come since the guard is attached. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, POD_CAPACITY);
  __type(key, struct pod_uid);
  __type(value, __u64); /* cgroup id */
} pod_cgroups SEC(".maps");

/* The pod-level cgroups of expected_pods. Only the keys count. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, POD_CAPACITY);
  __type(key, __u64); /* cgroup id */
  __type(value, __u32);
} expected_cgroups SEC(".maps");

/* The pods whose listeners may be reached, by their pod-level cgroups: those that are not wanted in the mesh, and those
 * whose inbound connections are captured. The agent writes it, because nobody else knows the latter. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, POD_CAPACITY);
  __type(key, __u64);   /* cgroup id */
  __type(value, __u64); /* cookie of the network namespace in which they are captured; 0: wherever they listen */
} reachable_pods SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, struct held_listener);
} held_listeners SEC(".maps");

/* struct pod_event, and a path. */
struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, POD_EVENTS_BYTES);
} pod_events SEC(".maps");

/* Where the guard reads paths: they are longer than the stack. */
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct path_buffer);
} path_buffers SEC(".maps");

/* Index: reason * VERDICTS + verdict. */
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, REASONS *VERDICTS);
  __type(key, __u32);
  __type(value, __u64);
} counters SEC(".maps");

/* Index: inbound_reason * INBOUND_VERDICTS + inbound_verdict. */
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, INBOUND_REASONS *INBOUND_VERDICTS);
  __type(key, __u32);
  __type(value, __u64);
} inbound_counters SEC(".maps");

/* Index: enum event. */
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, EVENTS);
  __type(key, __u32);
  __type(value, __u64);
} events SEC(".maps");

static __always_inline void count_in(void *map, __u32 index) {
  __u64 *count = bpf_map_lookup_elem(map, &index);

  if (count)
    *count += 1;
}

static __always_inline void count_event(enum event event) {
  count_in(&events, event);
}

#endif
