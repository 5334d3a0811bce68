// Prints the status for people: warnings, the agent, ztunnel, every pod, a summary.
import type { DatedStatus, NodeStatus } from '@sluice/ambient-agent';
import { age } from './age.js';
import { table } from './table.js';

const none = '-';
const states = ['in', 'pending', 'out', 'unknown'] as const;
const stateWords = { in: 'in the mesh', pending: 'pending', out: 'out of it', unknown: 'unknown' } as const;

function podOf({ namespace, name, uid }: DatedStatus): string {
  return name === '' ? `(uid ${uid})` : `${namespace}/${name}`;
}

function cgroupsOf({ cgroups }: DatedStatus): string {
  const [podLevel, ...others] = cgroups;
  if (podLevel === undefined) return none;
  return others.length === 0 ? podLevel.id : `${podLevel.id} +${others.length}`;
}

type Connection = NonNullable<NodeStatus['state']['zds']>['connections'][number];

function connectionWords({ pid, since, isSynced }: Connection, now: Date): string {
  return `connected for ${age(since, now)}, pid ${pid}, ${isSynced ? 'has every pod' : 'is being told of the pods'}`;
}

function ztunnelLines({ state }: NodeStatus, now: Date): string[] {
  if (state.ztunnels.pods.length === 0) return ['ztunnel   none on this node'];
  const connected = new Map(state.zds?.connections.map((connection) => [connection.pod, connection]));
  return state.ztunnels.pods.map(({ namespace, name, ips, isReady, isActive }) => {
    if (state.zds !== undefined) {
      const connection = connected.get(`${namespace}/${name}`);
      const standing = connection === undefined ? 'not connected' : connectionWords(connection, now);
      return `ztunnel   ${namespace}/${name} (${standing})`;
    }
    const condition = isActive ? 'active' : isReady ? 'ready, not used' : 'not ready';
    return `ztunnel   ${namespace}/${name} ${ips.join(' ')} (${condition})`;
  });
}

// More names than these make a line that nobody reads.
const NAMED = 5;

/** Why pods are not captured by route; pods with the same reason share a line. */
function rewriteLines(workloads: readonly DatedStatus[]): string[] {
  const pods = new Map<string, string[]>();
  for (const status of workloads)
    if (status.capture?.by === 'rewrite')
      pods.set(status.capture.because, [...(pods.get(status.capture.because) ?? []), podOf(status)]);
  if (pods.size === 0) return [];
  const lines = [...pods].map(([because, names]) => {
    const more = names.length > NAMED ? ` and ${names.length - NAMED} more` : '';
    return `  ${names.slice(0, NAMED).join(', ')}${more}: ${because}`;
  });
  return ['captured by rewrite, and not by route:', ...lines, ''];
}

/** Pure. */
export function renderStatus(node: NodeStatus, now: Date): string {
  const { state } = node;
  const agentLine =
    node.agent === 'not-running'
      ? `agent     not running; last seen ${age(state.writtenAt, now)} ago`
      : `agent     pid ${state.agent.pid}, version ${state.agent.version}, up ${age(state.agent.startedAt, now)}`;
  const isInPod = state.zds !== undefined;
  const rows = state.workloads.map((status) => [
    podOf(status),
    status.ips.join('\n') || none,
    cgroupsOf(status),
    status.state,
    ...(isInPod ? [status.capture?.by ?? none, status.inbound ?? none] : []),
    status.reason,
    age(status.since, now),
  ]);
  const counts = states
    .map((name) => [name, state.workloads.filter((status) => status.state === name).length] as const)
    .filter(([, count]) => count > 0)
    .map(([name, count]) => `${count} ${stateWords[name]}`);
  const datapath = node.isEnforced ? `in force below ${state.node.cgroupRoot}` : 'not in force';
  return [
    ...node.warnings.map((text) => `warning: ${text}`),
    ...(node.warnings.length > 0 ? [''] : []),
    `node      ${state.node.name} (mode ${state.node.mode})`,
    agentLine,
    `inventory ${state.node.inventory}`,
    `datapath  ${datapath}`,
    ...(state.zds === undefined ? [] : [`zds       ${state.zds.socket}`]),
    ...ztunnelLines(node, now),
    '',
    ...(rows.length === 0
      ? []
      : [
          table(['POD', 'IPS', 'CGROUP', 'MESH', ...(isInPod ? ['CAPTURE', 'INBOUND'] : []), 'WHY', 'SINCE'], rows),
          '',
        ]),
    ...(isInPod ? rewriteLines(state.workloads) : []),
    rows.length === 0 ? 'no pods on this node' : `${rows.length} pods: ${counts.join(', ')}`,
  ].join('\n');
}
