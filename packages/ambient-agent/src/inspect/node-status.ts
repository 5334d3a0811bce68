// The status of this node: the agent's view, whether an agent keeps it up to date, and whether the datapath is in force without
// one.
import { existsSync } from 'node:fs';
import { readLinks } from '@sluice/datapath';
import { isAwaited } from '../run-directory/lock.js';
import { readState, stateFile, type AgentState } from '../state/state.js';
import { InspectError } from './errors.js';

export interface NodeStatus {
  readonly state: AgentState;
  readonly agent: 'running' | 'not-running' | 'stale';
  /** Whether any program is attached, so that connections are redirected with or without an agent. */
  readonly isEnforced: boolean;
  /** Shown before everything else. */
  readonly warnings: readonly string[];
}

// The file is written at least at every pass that is more than ten seconds after the last one.
const GRACE_MS = 15_000;

/** What becomes of connections that cannot reach ztunnel, unless an annotation says something else. */
function fateOf(policy: AgentState['node']['pending'] | AgentState['node']['noZtunnel'], isRunning: boolean): string {
  if (policy === 'open') return 'let through';
  return policy === 'hold' && isRunning ? 'held, and refused after `policy.holdLimit`' : 'refused';
}

const UNDECIDED =
  'until one runs, new pods of namespaces in the mesh are held unless `policy.unknown` is `open`, and nothing waits for ztunnel';

/** Which connections of pods fail or wait because a ztunnel is missing. */
function ztunnelWarnings({ ztunnels, workloads, node, zds }: AgentState, isRunning: boolean): string[] {
  if (zds !== undefined) {
    if (zds.connections.length > 0) return [];
    return [
      `no ztunnel is connected at ${zds.socket}: new connections of pods that it has not acknowledged are ${fateOf(node.pending, isRunning)}; those of pods in the mesh use a ztunnel that still listens, or are ${fateOf(node.noZtunnel, isRunning)}`,
    ];
  }
  const fate = node.noZtunnel === 'open' ? 'let through' : 'refused';
  if (ztunnels.ipv4 === undefined && ztunnels.ipv6 === undefined)
    return [`no ztunnel is known on this node: connections of pods in the mesh are ${fate}`];
  const ips = workloads.filter((status) => status.state === 'in').flatMap((status) => status.ips);
  const families = [
    ['IPv4', ztunnels.ipv4, ips.some((ip) => !ip.includes(':'))],
    ['IPv6', ztunnels.ipv6, ips.some((ip) => ip.includes(':'))],
  ] as const;
  return families
    .filter(([, address, isUsed]) => address === undefined && isUsed)
    .map(
      ([name]) => `ztunnel has no ${name} address on this node: ${name} connections of pods in the mesh are ${fate}`,
    );
}

/** @throws InspectError no-state if no agent has run here or its file cannot be read */
export function readNodeStatus(runDir: string, procPath = '/proc', now = Date.now()): NodeStatus {
  const reading = readState(runDir, procPath);
  if (reading.kind !== 'state') {
    const { path } = stateFile(runDir);
    const message =
      reading.kind === 'absent'
        ? `no agent has run here: there is no ${path}; start one with \`sluice run\`, or name its directory with --run-dir`
        : `the agent's state in ${path} cannot be used: ${reading.why}; use, as root, the command that came with the agent, or start the agent, which writes a new one`;
    throw new InspectError('no-state', message);
  }
  const { state, isRunning } = reading;
  // A link that was detached, or whose cgroup is gone, has no cgroup.
  const links = readLinks(state.node.pinDirectory).filter(({ link }) => (link.cgroupId ?? 0n) !== 0n);
  const isEnforced = links.length > 0;
  const isStale = isRunning && now - Date.parse(state.writtenAt) > 3 * state.node.resyncIntervalMs + GRACE_MS;
  const agent = !isRunning ? 'not-running' : isStale ? 'stale' : 'running';
  const datapath = isEnforced ? 'datapath still enforced' : 'no datapath in force';
  const undecided = isEnforced ? `; ${UNDECIDED}` : '';
  const first = {
    running: [],
    stale: [
      `agent (pid ${state.agent.pid}) has not written its state for a long time; ${datapath}; as of ${state.writtenAt}`,
    ],
    'not-running': [`agent not running; ${datapath}; as of ${state.writtenAt}${undecided}`],
  }[agent];
  const missing = Object.entries(state.programs ?? {}).flatMap(([program, places]) =>
    places
      .filter(({ id }) => !links.some((one) => one.program === program && one.link.cgroupId === BigInt(id)))
      // A link ends with its cgroup.
      .filter(({ path }) => existsSync(path))
      .map(({ path }) => `${program} at ${path}`),
  );
  const remedy = isRunning ? 'the agent’s next pass attaches them' : 'start the agent, which attaches them';
  const inPart =
    isEnforced && missing.length > 0
      ? [`the datapath is in force only in part: not attached: ${missing.join(', ')}; ${remedy}`]
      : [];
  const notAttached =
    !isEnforced && isRunning
      ? ['no datapath is in force although an agent runs; its next pass attaches the programs']
      : [];
  const standby = isRunning && isAwaited(runDir) ? ['another agent stands by, and takes over when this one ends'] : [];
  const noZtunnel = ztunnelWarnings(state, isRunning);
  const ofPods = state.workloads.flatMap(({ namespace, name, problems }) =>
    problems.map((text) => `pod ${namespace}/${name}: ${text}`),
  );
  return {
    state,
    agent,
    isEnforced,
    warnings: [...first, ...inPart, ...notAttached, ...standby, ...noZtunnel, ...state.problems, ...ofPods],
  };
}
