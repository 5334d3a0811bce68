// How kubelets and container runtimes name their cgroups. A new naming scheme is one row here and one fixture in
// test/fixtures/naming.ts. Pure.

export type QosClass = 'guaranteed' | 'burstable' | 'besteffort';
export type Runtime = 'containerd' | 'cri-o' | 'docker' | 'unknown';

export interface ParsedCgroupPath {
  /** As the API writes it, with dashes; for a static pod 32 hexadecimal digits without dashes (the hash of its manifest). */
  readonly podUid: string;
  readonly qosClass: QosClass;
  readonly containerId?: string;
  readonly runtime?: Runtime;
  /** The beginning of the given path, up to and including the pod's own cgroup. */
  readonly podPath: string;
}

const hex = '[0-9a-f]';
const dashedUid = `${hex}{8}(?:-${hex}{4}){3}-${hex}{12}`;
const underscoredUid = `${hex}{8}(?:_${hex}{4}){3}_${hex}{12}`;
const staticUid = `${hex}{32}`;
const qos = '(?<qos>besteffort|burstable)';

// The pod's directory, with the parents that show that it is one. Guaranteed pods have no QoS level. What comes before is the
// kubelet's root (--cgroup-root: kind's /kubelet), or the container that the whole node runs in.
const podRows: readonly RegExp[] = [
  // cgroupfs: /kubepods/burstable/pod<uid>
  new RegExp(`(?:^|/)kubepods/${qos}/pod(?<uid>${dashedUid}|${staticUid})(?=/|$)`),
  // cgroupfs: /kubepods/pod<uid>
  new RegExp(`(?:^|/)kubepods/pod(?<uid>${dashedUid}|${staticUid})(?=/|$)`),
  // systemd: /kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid with _>.slice, all with one prefix
  new RegExp(
    `(?:^|/)(?<base>(?:[^/]+-)?kubepods)\\.slice/\\k<base>-${qos}\\.slice/` +
      `\\k<base>-\\k<qos>-pod(?<uid>${underscoredUid}|${staticUid})\\.slice(?=/|$)`,
  ),
  // systemd: /kubepods.slice/kubepods-pod<uid with _>.slice
  new RegExp(
    `(?:^|/)(?<base>(?:[^/]+-)?kubepods)\\.slice/\\k<base>-pod(?<uid>${underscoredUid}|${staticUid})\\.slice(?=/|$)`,
  ),
];

const containerId = `(?<id>${hex}{64})`;

// A container's directory inside its pod's. crio-conmon-<id>.scope is CRI-O's monitor and not a container, so it has no row.
const containerRows: readonly (readonly [Runtime, RegExp])[] = [
  ['containerd', new RegExp(`^cri-containerd-${containerId}\\.scope$`)], // systemd
  ['cri-o', new RegExp(`^crio-${containerId}\\.scope$`)], // systemd
  ['cri-o', new RegExp(`^crio-${containerId}$`)], // cgroupfs
  ['docker', new RegExp(`^docker-${containerId}\\.scope$`)], // systemd, cri-dockerd
  ['unknown', new RegExp(`^${containerId}$`)], // cgroupfs, containerd and docker alike
];

// systemd delegates these to unprivileged users, who may name directories as they like: nothing below them counts as a pod.
const userTree = /(?:^|\/)user\.slice\//;

/** A container's id and runtime from the name of a directory inside a pod's. */
export function parseContainerName(name: string): { id: string; runtime: Runtime } | undefined {
  for (const [runtime, row] of containerRows) {
    const id = row.exec(name)?.groups?.['id'];
    if (id !== undefined) return { id, runtime };
  }
  return undefined;
}

/**
 * Reads a cgroup path: absolute, or relative to a cgroup namespace (`/../..` in front). If pods are nested (a cluster inside a
 * container), the outermost one counts: it is the one that this node runs. These are deliberately not pods:
 * `…/kubepods-burstable-pod<uid>.slice:cri-containerd:<id>`, which containerd makes when only the kubelet uses systemd (there
 * is no pod-level cgroup then), and look-alikes outside a kubepods tree.
 */
export function parseCgroupPath(path: string): ParsedCgroupPath | undefined {
  if (!path.startsWith('/')) return undefined;
  let first: RegExpExecArray | undefined;
  for (const row of podRows) {
    const match = row.exec(path);
    if (match !== null && (first === undefined || match.index < first.index)) first = match;
  }
  const uid = first?.groups?.['uid'];
  if (first === undefined || uid === undefined || userTree.test(path.slice(0, first.index + 1))) return undefined;

  const podPath = path.slice(0, first.index + first[0].length);
  const qos = first.groups?.['qos'];
  const qosClass: QosClass = qos === 'burstable' || qos === 'besteffort' ? qos : 'guaranteed';
  const container = parseContainerName(path.slice(podPath.length + 1).split('/')[0] ?? '');
  const pod = {
    podUid: uid.replaceAll('_', '-'),
    qosClass,
    podPath,
  };
  return container === undefined ? pod : { ...pod, containerId: container.id, runtime: container.runtime };
}
