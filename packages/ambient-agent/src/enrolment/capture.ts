// How the connections that a meshed pod makes are brought to ztunnel, and why so. By route, their destination stays, and a route in the
// pod's network namespace brings them there; by rewrite, connect() is given ztunnel's address instead. A route is not safe everywhere.
import { ZTUNNEL_OUTBOUND_PORT } from '@sluice/datapath';
import * as Schema from 'effect/Schema';
import type { AgentConfig } from '../config/config.js';
import type { NetworkAdmin, Pod } from '../inventory/model.js';

export const Capture = Schema.Union([
  Schema.Struct({ by: Schema.Literal('route') }),
  /** `because` names what is in the way, why it is, and what can be done. */
  Schema.Struct({ by: Schema.Literal('rewrite'), because: Schema.String }),
]);
export type Capture = typeof Capture.Type;
export const CAPTURES: readonly Capture['by'][] = ['route', 'rewrite'];

/**
 * Whether the socket with which ztunnel listens at its outbound port is IP_TRANSPARENT, without which its answers to a connection
 * that kept its destination have no source address; or why that cannot be seen, in words.
 */
export type ListenerSight = 'transparent' | 'not-transparent' | { readonly unseen: string };

/** What runs on the node, as far as it matters here. Sentences are complete: object, cause, remedy. */
export interface CaptureFacts {
  /** What stands in the way of the route in a network namespace, by its cookie; nothing does where there is no entry. */
  readonly obstacles: ReadonlyMap<bigint, string>;
  /**
   * The network namespaces in which the route has been seen to work, by their cookies. One that has lost it since is still among
   * them: its connections are refused until the route is back, and do not change over to another capture for that time.
   */
  readonly prepared: ReadonlySet<bigint>;
  /** The listener of the ztunnel that acknowledged the pod, by the cookie of its namespace. No entry means not known yet. */
  readonly listeners: ReadonlyMap<bigint, ListenerSight>;
  /** What the listener of a pod will be that no ztunnel has acknowledged yet: that of the ztunnel seen last, if any was. */
  readonly expected: ListenerSight | undefined;
  /** The program of somebody else that decides about the connections of every pod after Sluice's; undefined if there is none. */
  readonly foreignConnect: string | undefined;
}

/** Nothing is captured by route as long as no listener is known. */
export const nothingSeen: CaptureFacts = {
  obstacles: new Map(),
  prepared: new Set(),
  listeners: new Map(),
  expected: undefined,
  foreignConnect: undefined,
};

export type CaptureConfig = Pick<AgentConfig, 'mode' | 'capture'> & {
  readonly ambient: Pick<AgentConfig['ambient'], 'ipv6'>;
};

interface Asked {
  readonly pod: Pick<Pod, 'networkAdmins' | 'ips'>;
  /** Undefined while the pod's network namespace is not known. */
  readonly cookie: bigint | undefined;
  readonly config: CaptureConfig;
  readonly facts: CaptureFacts;
  /** Why not every address of its network namespace counts as its own; what it dials from another one cannot be told by its addresses. */
  readonly addressProblem?: string | undefined;
}

/** A reason against the route, in words; undefined if it does not apply. What is not known is a reason. */
type Reason = (asked: Asked) => string | undefined;

const byConfiguration = ({ pod, config }: Pick<Asked, 'pod' | 'config'>): string | undefined => {
  if (config.mode === 'node')
    return 'in `node` mode ztunnel listens in a pod of its own, to which no route of this pod leads';
  if (config.capture === 'rewrite') return 'the configuration says `capture: rewrite`; set `capture: route`';
  if (!config.ambient.ipv6 && pod.ips.some((ip) => ip.includes(':')))
    return 'it has an IPv6 address, and the configuration says `ambient.ipv6: false`; set `ambient.ipv6: true`';
  return undefined;
};

function adminWords({ kind, container, by }: NetworkAdmin): string {
  const name = container === '' ? `an unnamed ${kind}` : `${kind} ${container}`;
  if (by === 'unknown')
    return `the securityContext of ${name} cannot be understood, and may let it remove the route; correct it`;
  const power = by === 'privileged' ? 'is privileged' : `adds the capability ${by}`;
  return `${name} ${power} and could remove the route; take that from its securityContext if it does not need it`;
}

const byContainers = ({ pod: { networkAdmins } }: Pick<Asked, 'pod'>): string | undefined => {
  if (networkAdmins === undefined)
    return 'its containers are not known, and may be privileged; list them in `spec.containers` of its manifest';
  const [first, ...others] = networkAdmins;
  if (first === undefined) return undefined;
  return others.length === 0 ? adminWords(first) : `${adminWords(first)} (${others.length} more like it)`;
};

const byNetns: Reason = ({ cookie, facts, addressProblem }) =>
  cookie === undefined ? 'its network namespace is not known yet' : (facts.obstacles.get(cookie) ?? addressProblem);

const listener = `ztunnel's listener at port ${ZTUNNEL_OUTBOUND_PORT}`;

const byListener: Reason = ({ cookie, facts }) => {
  const sight = cookie === undefined ? undefined : facts.listeners.get(cookie);
  if (sight === 'transparent') return undefined;
  if (sight === undefined)
    return `whether ${listener} is transparent is not known yet: no ztunnel that is connected has acknowledged the pod`;
  if (sight === 'not-transparent')
    return `${listener} is not transparent, so its answers would not reach the application; give ztunnel NET_ADMIN, and do not set ENABLE_ORIG_SRC=false`;
  return `whether ${listener} is transparent cannot be seen: ${sight.unseen}`;
};

const byPreparation: Reason = ({ cookie, facts }) =>
  cookie !== undefined && facts.prepared.has(cookie) ? undefined : 'its network namespace is not prepared yet';

const byForeignProgram: Reason = ({ facts }) => facts.foreignConnect;

/** The order in which a pod's reason is chosen if it has several: from what is its own to what is the node's, and then what only takes time. */
const REASONS: readonly Reason[] = [
  byConfiguration,
  byContainers,
  byNetns,
  byListener,
  byForeignProgram,
  byPreparation,
];

/** Pure. */
export function captureOf(asked: Asked): Capture {
  for (const reason of REASONS) {
    const because = reason(asked);
    if (because !== undefined) return { by: 'rewrite', because };
  }
  return { by: 'route' };
}

/**
 * Whether a pod's namespace is to be prepared for the route: nothing that is configured speaks against it, and the rest may change
 * from one moment to the next. Pure.
 */
export const isRoutable = (asked: Pick<Asked, 'pod' | 'config'>): boolean =>
  byConfiguration(asked) === undefined && byContainers(asked) === undefined;
