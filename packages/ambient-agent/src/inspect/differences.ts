// Compares what an agent says with what the kernel has: each difference with its object, both sides, and a remedy.
import { INBOUND_PROGRAM, nameInKernel, type AttachedProgram, type Place } from '@sluice/datapath';
import type { DatedStatus } from '../enrolment/status.js';
import type { ClaimedNetns, Claims } from './claims.js';
import { LISTENED_PORTS, type KernelView } from './kernel-view.js';
import type { NodeStatus } from './node-status.js';

/** In the order of the report: what the others depend on comes first. */
export const DIFFERENCE_KINDS = ['place', 'map', 'link', 'rule', 'listener'] as const;

export interface Difference {
  /**
   * `place`: a cgroup, a network namespace or a directory that the agent relies on. `rule`: a rule, a route or a
   * sysctl in a pod's network namespace. `listener`: a socket of ztunnel's.
   */
  readonly kind: (typeof DIFFERENCE_KINDS)[number];
  readonly object: string;
  /** What the agent says. */
  readonly agent: string;
  /** What the kernel has. */
  readonly kernel: string;
  readonly remedy: string;
}

/** The remedies, by the moment at which the agent would repair a difference. */
interface Remedies {
  readonly pass: string;
  /** For what a thorough pass checks in some network namespaces, and the next one in others. */
  readonly look: string;
  readonly start: string;
}

function remediesOf(agent: NodeStatus['agent'], { resyncIntervalMs }: Claims['state']['node']): Remedies {
  if (agent === 'not-running') {
    const start = 'start the agent (`sluice run`), which puts it right';
    return { pass: start, look: start, start };
  }
  const start = 'restart the agent, which puts it right';
  if (agent === 'stale') return { pass: start, look: start, start };
  const within = `${Math.ceil(resyncIntervalMs / 1000)} s`;
  return {
    pass: `none needed: the agent’s next pass puts it right, within ${within}`,
    look: `none needed: the agent looks into some network namespaces every ${within}, and puts it right when it comes to this one`,
    start,
  };
}

/** Pure. Sorted by kind and object. */
export function differencesOf(claims: Claims, kernel: KernelView, agent: NodeStatus['agent']): Difference[] {
  const remedies = remediesOf(agent, claims.state.node);
  const attachments = kernel.notPinned === undefined ? attachmentsOf(claims, kernel, remedies) : [];
  const found = [
    ...places(claims, kernel, remedies),
    ...maps(kernel, attachments, remedies),
    ...entries(claims, kernel, remedies),
    ...attachments.flatMap(attachmentDifference),
    ...needlessPrograms(claims, kernel, remedies),
    ...guardParts(claims, kernel, remedies),
    ...strays(claims, kernel, remedies),
    ...claims.netns.flatMap((one) => [
      ...rules(one, kernel, remedies),
      ...routes(one, claims, kernel, remedies),
      ...listeners(one, kernel),
    ]),
  ];
  const rank = ({ kind }: Difference): number => DIFFERENCE_KINDS.indexOf(kind);
  return found.sort((a, b) => rank(a) - rank(b) || compareText(a.object, b.object) || compareText(a.kernel, b.kernel));
}

const compareText = (a: string, b: string): number => (a < b ? -1 : Number(a > b));

export const nameOf = ({ namespace, name, uid }: DatedStatus): string =>
  name === '' ? `the pod with UID ${uid}` : `pod ${namespace}/${name}`;

function places(claims: Claims, kernel: KernelView, { pass, start }: Remedies): Difference[] {
  const { state, netns } = claims;
  const found: Difference[] = [];
  const add = (object: string, agent: string, kernel: string, remedy: string): void =>
    void found.push({ kind: 'place', object, agent, kernel, remedy });
  const { pinDirectory, cgroupRoot, hostNetns, hostNetnsCookie } = state.node;
  if (kernel.notPinned !== undefined) {
    const remedy = `mount a BPF file system if there is none (mount -t bpf bpf DIRECTORY); then ${start}`;
    add(pinDirectory, 'maps and links are pinned there', kernel.notPinned, remedy);
  }
  if (kernel.cgroupRootId === undefined)
    add(cgroupRoot, 'the programs are attached to this cgroup', 'there is no such cgroup', start);
  if (String(kernel.hostNetnsCookie) !== hostNetnsCookie) {
    const there =
      kernel.hostNetnsCookie === undefined ? 'it is not there' : `one with cookie ${kernel.hostNetnsCookie}`;
    add(hostNetns, `the host’s network namespace, with cookie ${hostNetnsCookie}`, there, pass);
  }
  const cgroup = (path: string, id: string, whose: string, isNeeded: boolean): void => {
    const there = kernel.cgroups.get(path);
    // No other cgroup gets the id of one that is gone.
    if (there === undefined ? !isNeeded : String(there) === id) return;
    const what = there === undefined ? 'it is gone' : `one with id ${there}`;
    add(`${path} of ${whose}`, `a cgroup with id ${id}`, what, pass);
  };
  for (const { path, id } of state.kubelets) cgroup(path, id, 'the kubelet', true);
  for (const { path, id } of unnamedPlaces(claims)) cgroup(path, String(id), 'the programs', true);
  for (const pod of state.workloads) {
    // Pods that are in no map do not matter.
    if (pod.state !== 'in' && pod.state !== 'pending' && pod.role !== 'ztunnel') continue;
    for (const [index, { path, id }] of pod.cgroups.entries()) cgroup(path, id, nameOf(pod), index === 0);
  }
  for (const { cookie, pod } of netns) {
    const seen = kernel.netns.get(cookie);
    const there =
      seen?.kind === 'none'
        ? `no process of it shows one that holds ${pod.ips.join(' or ')}`
        : seen?.kind === 'other' && `its processes are in the one with cookie ${seen.cookie}`;
    if (there) add(`network namespace of ${nameOf(pod)}`, `the one with cookie ${cookie}`, there, pass);
  }
  return found;
}

/** Cgroups to which programs are attached, other than the root and those of pods and of the kubelet. */
function unnamedPlaces({ state, plan }: Claims): readonly Place[] {
  const named = new Set([
    state.node.cgroupRoot,
    ...state.kubelets.map(({ path }) => path),
    ...state.workloads.flatMap(({ cgroups }) => cgroups).map(({ path }) => path),
  ]);
  const places = new Map([...plan.values()].flat().map((place) => [place.path, place]));
  return [...places.values()].filter(({ path }) => !named.has(path));
}

/** A place where a pinned link has to attach a program. */
interface Attachment extends Pick<AttachedProgram, 'program' | 'running'> {
  readonly object: string;
  readonly agent: string;
  /** Its pinned link; `to` is 0 if that is attached to nothing. */
  readonly link: { readonly programId: number; readonly to: bigint | undefined } | undefined;
  /** What `to` has to be, or undefined if that is not known. */
  readonly target: bigint | undefined;
  /** The remedy if no link is pinned. */
  readonly remedy: string;
  /** The remedy if something is wrong with the link. */
  readonly remedyForLink: string;
}

function attachmentsOf({ netns }: Claims, kernel: KernelView, { pass, start }: Remedies): Attachment[] {
  const ofCgroup = kernel.programs.map(({ program, cgroup, link, running }: AttachedProgram) => ({
    program,
    object: `${program} at ${cgroup.path}`,
    agent: 'attached',
    link: link && { programId: link.programId, to: link.cgroupId },
    target: cgroup.id,
    running,
    remedy: pass,
    remedyForLink: pass,
  }));
  const ofNetns = netns.flatMap(({ cookie, pod, isServed }): Attachment[] => {
    const seen = kernel.netns.get(cookie);
    // The namespace is gone, and its link ended with it.
    if (!isServed || seen?.kind === 'other' || seen?.kind === 'none') return [];
    const link = kernel.netnsLinks.find(({ netnsCookie }) => netnsCookie === cookie)?.link;
    const to = link?.netnsInode === undefined ? undefined : BigInt(link.netnsInode);
    const target = seen?.kind === 'same' ? seen.inode : undefined;
    return [
      {
        program: INBOUND_PROGRAM,
        object: `${INBOUND_PROGRAM} of ${nameOf(pod)}`,
        agent: `attached to the network namespace with cookie ${cookie}`,
        link: link && { programId: link.programId, to },
        target,
        running: kernel.inboundLinks.filter(({ netnsInode }) => BigInt(netnsInode) === (target ?? to)),
        remedy: pass,
        remedyForLink: start,
      },
    ];
  });
  return [...ofCgroup, ...ofNetns];
}

function attachmentDifference({
  object,
  agent,
  link,
  target,
  running,
  remedy,
  remedyForLink,
}: Attachment): Difference[] {
  const differ = (kernel: string, remedy: string): Difference[] => [{ kind: 'link', object, agent, kernel, remedy }];
  const others = running.filter(({ id }) => id !== link?.programId);
  const programs = others.map(({ id }) => `program ${id}`).join(', ');
  if (link === undefined) return differ(programs === '' ? 'not attached' : `${programs}, by no pinned link`, remedy);
  if (link.to === 0n) return differ('its link is attached to nothing: it was detached', remedyForLink);
  if (target !== undefined && link.to !== target)
    return differ(`its link is attached elsewhere, to ${link.to}`, remedyForLink);
  if (others.length === running.length)
    return differ(`another program is in its link: ${link.programId}`, remedyForLink);
  if (others.length === 0) return [];
  const remedyForOthers = 'find out who attached the other one, perhaps another Sluice on this node, and detach that';
  return differ(`attached twice: by its link, and ${programs}`, remedyForOthers);
}

/** A link of the guard's is attached for as long as it is pinned. */
function guardParts({ state }: Claims, { guard, notPinned }: KernelView, { pass }: Remedies): Difference[] {
  if (notPinned !== undefined) return [];
  const there = new Set<string>(guard.map(({ part }) => part));
  return (state.guard ?? [])
    .filter((part) => !there.has(part))
    .map((part) => ({
      kind: 'link',
      object: `the guard’s ${part}`,
      agent: 'attached',
      kernel: 'not attached',
      remedy: pass,
    }));
}

/** Links to cgroups where the program is not needed. */
function needlessPrograms({ plan }: Claims, { programLinks }: KernelView, { pass }: Remedies): Difference[] {
  return programLinks.flatMap(({ program, link: { cgroupId = 0n } }): Difference[] => {
    // One that is attached to nothing shows as the program that is missing.
    if (cgroupId === 0n || plan.get(program)?.some(({ id }) => id === cgroupId)) return [];
    const object = `${program} at the cgroup with id ${cgroupId}`;
    return [{ kind: 'link', object, agent: 'not attached: nobody needs it there', kernel: 'attached', remedy: pass }];
  });
}

/** Links to network namespaces in which no pod is served. */
function strays({ netns }: Claims, kernel: KernelView, { pass }: Remedies): Difference[] {
  const served = new Set(netns.filter(({ isServed }) => isServed).map(({ cookie }) => cookie));
  return kernel.netnsLinks
    .filter(({ netnsCookie }) => !served.has(netnsCookie))
    .map(({ netnsCookie, link }) => ({
      kind: 'link',
      object: `${INBOUND_PROGRAM} of the network namespace with cookie ${netnsCookie}`,
      agent: 'not attached: no pod is served there',
      kernel: link.netnsInode === 0 ? 'a link to a namespace that is gone' : 'attached',
      remedy: pass,
    }));
}

function maps(kernel: KernelView, attachments: readonly Attachment[], { start }: Remedies): Difference[] {
  const ours = attachments.flatMap(({ program, link, running }) =>
    running.filter(({ id }) => id === link?.programId).map(({ maps }) => ({ program, maps })),
  );
  return kernel.maps.flatMap(({ name, id, misfit }): Difference[] => {
    const strange = ours.filter(({ maps }) => (maps.get(nameInKernel(name)) ?? id) !== id);
    const users = [...new Set(strange.map(({ program }) => program))].join(', ');
    const isUsed = users === '' ? undefined : `map ${id}, while another is used by ${users}`;
    const there = id === undefined ? 'no map is pinned by this name' : (misfit ?? isUsed);
    if (there === undefined) return [];
    return [{ kind: 'map', object: name, agent: 'a map of this version, used by all', kernel: there, remedy: start }];
  });
}

const NO_ENTRY = 'no such entry';

function entries({ state }: Claims, kernel: KernelView, { pass }: Remedies): Difference[] {
  const owners = new Map<string, DatedStatus>();
  for (const pod of state.workloads) {
    for (const ip of pod.ips) owners.set(`ip ${ip}`, pod);
    for (const { id } of pod.cgroups) owners.set(`cgroup ${id}`, pod);
    if (pod.netnsCookie !== undefined) owners.set(`netns ${pod.netnsCookie}`, pod);
  }
  return kernel.entries.map(({ map, entry, of, wanted, present }) => {
    const pod = owners.get(`${of.kind} ${of.id}`);
    return {
      kind: 'map',
      object: `${map}: ${entry}${pod === undefined ? '' : ` of ${nameOf(pod)}`}`,
      agent: wanted ?? (pod === undefined ? NO_ENTRY : `${NO_ENTRY}: ${pod.reason}`),
      kernel: present ?? NO_ENTRY,
      remedy: pass,
    };
  });
}

const isSysctl = (part: string): boolean => part.startsWith('net.');

function rules({ cookie, pod }: ClaimedNetns, kernel: KernelView, { look }: Remedies): Difference[] {
  const seen = kernel.netns.get(cookie);
  if (seen?.kind !== 'same') return [];
  return seen.missing.map((part) => ({
    kind: 'rule',
    object: `${part} in the network namespace of ${nameOf(pod)}`,
    agent: isSysctl(part) ? 'on' : 'there',
    kernel: isSysctl(part) ? 'off' : 'missing',
    remedy: look,
  }));
}

/** The index under which sockets are looked for that are bound to no device, as most are. */
const BOUND_TO_NONE = 0;

/** Only what the agent has seen prepared may be captured by route, in each family of which the pod has an IP. */
function routes(
  { cookie, pod, isRouted }: ClaimedNetns,
  { state }: Claims,
  kernel: KernelView,
  { pass }: Remedies,
): Difference[] {
  if (!isRouted || kernel.routed === undefined) return [];
  const { ipv4 = false, ipv6 = false } = kernel.routed.get(cookie)?.get(BOUND_TO_NONE) ?? {};
  const families = [
    { name: 'IPv4', isPrepared: ipv4, isUsed: pod.ips.some((ip) => !ip.includes(':')) },
    { name: 'IPv6', isPrepared: ipv6, isUsed: state.node.ipv6 === true && pod.ips.some((ip) => ip.includes(':')) },
  ];
  return families
    .filter(({ isPrepared, isUsed }) => isUsed && !isPrepared)
    .map(({ name }) => ({
      kind: 'map',
      object: `routed_netns: ${name} in the network namespace of ${nameOf(pod)}`,
      agent: 'captured by route',
      kernel: 'the namespace does not count as prepared: such connections of the pod are refused',
      remedy: pass,
    }));
}

function listeners({ cookie, pod, isAcknowledged }: ClaimedNetns, kernel: KernelView): Difference[] {
  if (!isAcknowledged || kernel.listeners === undefined) return [];
  const there = kernel.listeners.filter(({ netnsCookie }) => netnsCookie === cookie).map(({ port }) => port);
  return LISTENED_PORTS.filter((port) => !there.includes(port)).map((port) => ({
    kind: 'listener',
    object: `port ${port} of ${nameOf(pod)}`,
    agent: 'ztunnel has acknowledged the pod, and listens',
    kernel: 'no socket of ztunnel’s is known to listen there: connections that need it are refused',
    remedy:
      'see whether ztunnel runs (`sluice status` says so); the agent’s next pass takes a socket of it that listens',
  }));
}
