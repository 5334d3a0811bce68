// What Sluice wants in a pod's network namespace, declared in one place. It has two halves: what brings the answers of
// applications back to ztunnel, and what brings the pod's own connections to it.
import { CaptureMark } from '@sluice/datapath';
import { sameRoute, type ListedRoute, type PolicyRoute, type PolicyRule } from '@sluice/linux';

export type Family = 4 | 6;
export const FAMILIES: readonly Family[] = [4, 6];

/**
 * 'answers': ztunnel dials an application from the client's own address. Such a packet carries the mark 0x111, the accepted
 * socket takes it (tcp_fwmark_accept), resets and ICMP errors reflect it (fwmark_reflect), and a rule sends packets with it to
 * the loopback, whatever their address. 'capture': a connection that connect() has marked is delivered on the loopback in the
 * same way, with its own destination.
 */
export type Half = 'answers' | 'capture';

export type Part = {
  /** As it is reported; a sysctl's own name. */
  readonly name: string;
  readonly half: Half;
  readonly family: Family;
} & (
  | { readonly kind: 'rule'; readonly rule: PolicyRule }
  /** `ifindex`: of the {@link CaptureWay} whose route it is; it is {@link UNBOUND} for others. */
  | { readonly kind: 'route'; readonly route: PolicyRoute; readonly ifindex: number }
  /** It has to be {@link ON}. */
  | { readonly kind: 'sysctl' }
);
export type RulePart = Extract<Part, { kind: 'rule' }>;
export type RoutePart = Extract<Part, { kind: 'route' }>;
export type SysctlPart = Extract<Part, { kind: 'sysctl' }>;

export interface WantedParts {
  /** The families of the first half. */
  readonly answers: readonly Family[];
  /** The families of the second half; none if the pod is not captured by route. */
  readonly capture: readonly CapturedFamily[];
}

export interface CapturedFamily {
  readonly family: Family;
  /** None if the namespace has no usable address, so that marked connections fail. */
  readonly ways: readonly CaptureWay[];
}

/** By which marked connections arrive. A socket that is bound to a device takes the way of that device only. */
export interface CaptureWay {
  /** The loopback for sockets that are bound to no device. */
  readonly device: string;
  /** Of the device that a socket is bound to; {@link UNBOUND} for the loopback. */
  readonly ifindex: number;
  /** The address from which connections come if their socket has none. */
  readonly source: string;
  /**
   * Set for a device without an address: nothing is to come by it. Without its route, the kernel would take every destination of an IPv4
   * socket that is bound to it for a neighbour (ip_route_output_key_hash_rcu of net/ipv4/route.c), past ztunnel.
   */
  readonly isSealed?: true;
}
export const UNBOUND = 0;

/** RTPROT_STATIC, which addRule and addRoute write; only rules and routes with it are removed again. */
export const MADE_BY_US = 4;

/** The mark, the table and the priority of answers are istio-cni's (cni/pkg/iptables): whoever knows one knows the other. */
const ANSWERS = { table: 100, priority: 32764, fwmark: { value: 0x111, mask: 0xfff } };
/**
 * The lookup comes before policy routing of the pod's own. Behind it stands a rule that makes marked connections fail: so a
 * route or a rule that somebody removes cannot let them past ztunnel before the agent has noticed.
 */
const CAPTURE = {
  table: 101,
  priorities: { lookup: 1, backstop: 2 },
  fwmark: { value: CaptureMark.ROUTE_MARK, mask: CaptureMark.ROUTE_MARK },
};

/** Where a half has its routes, and its rules. */
export const PLACES: Readonly<Record<Half, { readonly table: number; readonly priorities: readonly number[] }>> = {
  answers: { table: ANSWERS.table, priorities: [ANSWERS.priority] },
  capture: { table: CAPTURE.table, priorities: Object.values(CAPTURE.priorities) },
};

/** The values of a switch; OFF is that of a new network namespace. */
export const OFF = '0';
export const ON = '1';

/**
 * tcp_fwmark_accept is one switch for both families (inet_request_mark() of the kernel's inet_sock.h). Without
 * fwmark_reflect, the refusal of a closed port would leave for the client, and ztunnel would wait for its timeout.
 */
const SYSCTLS: readonly SysctlPart[] = [
  { name: 'net.ipv4.tcp_fwmark_accept', half: 'answers', family: 4, kind: 'sysctl' },
  { name: 'net.ipv4.fwmark_reflect', half: 'answers', family: 4, kind: 'sysctl' },
  { name: 'net.ipv6.fwmark_reflect', half: 'answers', family: 6, kind: 'sysctl' },
];

const named = (family: Family, half: Half, what: string): Pick<Part, 'name' | 'half' | 'family'> => ({
  name: half === 'answers' ? `IPv${family} ${what}` : `IPv${family} capture ${what}`,
  half,
  family,
});

const answersRoute = (family: Family): RoutePart => ({
  ...named(family, 'answers', 'route'),
  kind: 'route',
  ifindex: UNBOUND,
  route: { family, table: ANSWERS.table, type: 'local', destination: 'default', interface: 'lo' },
});

const answersRule = (family: Family): RulePart => ({
  ...named(family, 'answers', 'rule'),
  kind: 'rule',
  rule: { family, ...ANSWERS },
});

const LOOPBACK = 'lo';

/** In the order of their metrics: sockets that are bound to no device take the first, which is the loopback's. */
const captureRoutes = ({ family, ways }: CapturedFamily): RoutePart[] =>
  ways.length === 0 ? [captureNowhere(family)] : ways.map((way) => captureRoute(family, way));

const captureNowhere = (family: Family): RoutePart => ({
  ...named(family, 'capture', 'route'),
  kind: 'route',
  ifindex: UNBOUND,
  route: { family, table: CAPTURE.table, destination: 'default', type: 'unreachable' },
});

const captureRoute = (family: Family, { device, ifindex, source }: CaptureWay): RoutePart => ({
  ...named(family, 'capture', ifindex === UNBOUND ? 'route' : `route of ${device}`),
  kind: 'route',
  ifindex,
  route: {
    family,
    table: CAPTURE.table,
    destination: 'default',
    type: 'local',
    interface: ifindex === UNBOUND ? LOOPBACK : device,
    source,
    // 0 would be the kernel's default for IPv6.
    metric: ifindex + 1,
  },
});

const captureRules = (family: Family): RulePart[] => {
  const { table, priorities, fwmark } = CAPTURE;
  return [
    {
      ...named(family, 'capture', 'backstop'),
      kind: 'rule',
      rule: { family, priority: priorities.backstop, action: 'unreachable', fwmark },
    },
    {
      ...named(family, 'capture', 'rule'),
      kind: 'rule',
      rule: { family, priority: priorities.lookup, table, fwmark },
    },
  ];
};

/**
 * The parts in the order in which they are added; they are removed in the reverse order. Rules come last, because a rule that
 * leads to an empty table lets answers leave for the client. Pure.
 */
export const partsOf = ({ answers, capture }: WantedParts): readonly Part[] => [
  ...answers.map(answersRoute),
  ...capture.flatMap(captureRoutes),
  ...SYSCTLS.filter(({ family }) => answers.includes(family)),
  ...answers.map(answersRule),
  ...capture.flatMap(({ family }) => captureRules(family)),
];

/** Every rule and sysctl that may be ours. */
export const EVERY_PART: readonly Part[] = partsOf({
  answers: FAMILIES,
  capture: FAMILIES.map((family) => ({ family, ways: [] })),
});

/** The part of which a listed route is, with whatever device and source; undefined if it has another form than ours. Pure. */
export function routePartOf(listed: ListedRoute): RoutePart | undefined {
  const { family, interface: device, metric, source } = listed;
  if (listed.table === ANSWERS.table) return [answersRoute(family)].find(({ route }) => sameRoute(route, listed));
  const nowhere = captureNowhere(family);
  if (sameRoute(nowhere.route, listed)) return nowhere;
  const way = captureRoute(family, { device, ifindex: metric - 1, source: source ?? '' });
  // The kernel takes the source from an IPv6 route when the address goes.
  const { source: _source, ...unsourced } = way.route;
  const route = source === undefined ? (unsourced as PolicyRoute) : way.route;
  return sameRoute(route, listed) ? { ...way, route } : undefined;
}
