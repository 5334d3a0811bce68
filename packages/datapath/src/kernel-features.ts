// What this kernel lacks of what the programs use, asked before they are loaded: the verifier's words for it are about
// instructions. What they use is read from the object itself, so that it is never out of date.
import {
  openObject,
  probeHelper,
  probeLink,
  probeMapType,
  probeProgram,
  type MapDefinition,
  type ProgramDefinition,
} from '@sluice/libbpf';
import { CGROUP_LINK_SINCE, helperSince, MAPS_SINCE, PROGRAMS_SINCE, SK_LOOKUP_LINK_SINCE } from './kernel-history.js';
import { OBJECT_PATH } from './layout.js';

/** Something that the programs use of the kernel. */
export interface KernelFeature {
  /** Such as 'helper bpf_set_retval in cgroup_inet4_connect programs'. */
  readonly name: string;
  /** The mainline release that brought it; undefined if this is not known here. */
  readonly since: string | undefined;
  /** The program, or the map, that is not there without it. */
  readonly usedBy: string;
  /** What the kernel must have been built with. */
  readonly option: string;
}

interface Probe extends KernelFeature {
  readonly isThere: () => boolean;
}

/** tc programs are attached by netlink. */
const WITHOUT_LINK = 'sched_cls';
const SK_LOOKUP = 'sk_lookup';

/** Everything that the programs and maps of these objects use, each thing once. Nothing is asked of the kernel. */
export function usedKernelFeatures(objectPaths: readonly string[] = [OBJECT_PATH]): KernelFeature[] {
  return probes(objectPaths).map(({ name, since, usedBy, option }) => ({ name, since, usedBy, option }));
}

/**
 * What of it this kernel does not have. It takes some milliseconds, and nothing stays of it.
 * @throws BpfError EPERM when this process may not ask: CAP_BPF and CAP_NET_ADMIN, or a kernel that is locked down
 */
export function missingKernelFeatures(objectPaths: readonly string[] = [OBJECT_PATH]): KernelFeature[] {
  return probes(objectPaths)
    .filter(({ isThere }) => !isThere())
    .map(({ name, since, usedBy, option }) => ({ name, since, usedBy, option }));
}

function probes(objectPaths: readonly string[]): Probe[] {
  const found = new Map<string, Probe>();
  for (const path of objectPaths) {
    using object = openObject(path);
    const all = [...object.programDefinitions().flatMap(ofProgram), ...object.mapDefinitions().map(ofMap)];
    for (const probe of all) if (!found.has(probe.name)) found.set(probe.name, probe);
  }
  return [...found.values()];
}

function ofProgram({ name: usedBy, type, attachType, helpers }: ProgramDefinition): Probe[] {
  const hook = type === WITHOUT_LINK ? type : attachType;
  const option = optionOf(type);
  const program: Probe = {
    name: `${hook} programs`,
    since: PROGRAMS_SINCE[hook],
    usedBy,
    option,
    isThere: () => probeProgram(type, attachType),
  };
  const link: Probe = {
    name: `links of ${hook} programs`,
    since: type === SK_LOOKUP ? SK_LOOKUP_LINK_SINCE : CGROUP_LINK_SINCE,
    usedBy,
    option,
    isThere: () => probeLink(type, attachType),
  };
  const called = helpers.map((helper) => ({
    name: `helper bpf_${helper} in ${hook} programs`,
    since: helperSince(type, helper),
    usedBy,
    option,
    isThere: () => probeHelper(type, attachType, helper),
  }));
  return [program, ...(type === WITHOUT_LINK ? [] : [link]), ...called];
}

function ofMap({ name: usedBy, type }: MapDefinition): Probe {
  const option = type === 'sockhash' ? 'CONFIG_BPF_SYSCALL, CONFIG_INET' : 'CONFIG_BPF_SYSCALL';
  return { name: `${type} maps`, since: MAPS_SINCE[type], usedBy, option, isThere: () => probeMapType(type) };
}

function optionOf(type: string): string {
  const ofType = type === WITHOUT_LINK || type === SK_LOOKUP ? 'CONFIG_NET' : 'CONFIG_CGROUP_BPF';
  return `CONFIG_BPF_SYSCALL, ${ofType}`;
}
