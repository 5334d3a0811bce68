// What the programs use that this kernel does not have. It is asked before they are loaded, because the verifier's
// messages are about instructions. What the programs use is read from the objects, so that it is never out of date.
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
import { INBOUND_OBJECT_PATH, OBJECT_PATH } from './layout.js';

/** Something of the kernel that the programs use. */
export interface KernelFeature {
  /** For example 'helper bpf_set_retval in cgroup_inet4_connect programs'. */
  readonly name: string;
  /** The mainline release that brought it; undefined if this is not known here. */
  readonly since: string | undefined;
  /** The first program or map that uses it. */
  readonly usedBy: string;
  /** What the kernel must have been built with. */
  readonly options: string;
}

interface Probe extends KernelFeature {
  /** The feature without which this one cannot exist either. */
  readonly needs: string | undefined;
  readonly isThere: () => boolean;
}

/** The objects that are loaded. Without `inbound`, which is for pods with their own ztunnel, there is one less. */
export function objectPaths({ inbound }: { readonly inbound: boolean }): string[] {
  return inbound ? [OBJECT_PATH, INBOUND_OBJECT_PATH] : [OBJECT_PATH];
}

/** Everything that the programs and maps of these objects use, each thing once. It does not ask the kernel. */
export function usedKernelFeatures(paths: readonly string[]): KernelFeature[] {
  return probes(paths).map(feature);
}

/**
 * What the programs and maps use that this kernel does not have; if it lacks a type of program, its helpers and links
 * are not named. It takes some ten milliseconds and leaves nothing behind.
 *
 * @throws BpfError EPERM when this process may not ask: it lacks CAP_BPF or CAP_NET_ADMIN
 */
export function missingKernelFeatures(paths: readonly string[]): KernelFeature[] {
  const missing = probes(paths).filter(({ isThere }) => !isThere());
  const names = new Set(missing.map(({ name }) => name));
  return missing.filter(({ needs }) => needs === undefined || !names.has(needs)).map(feature);
}

const feature = ({ name, since, usedBy, options }: Probe): KernelFeature => ({ name, since, usedBy, options });

const SK_LOOKUP = 'sk_lookup';

function probes(paths: readonly string[]): Probe[] {
  const found = new Map<string, Probe>();
  for (const path of paths) {
    using object = openObject(path);
    const all = [...object.programDefinitions().flatMap(ofProgram), ...object.mapDefinitions().map(ofMap)];
    for (const probe of all) if (!found.has(probe.name)) found.set(probe.name, probe);
  }
  return [...found.values()];
}

function ofProgram({ name: usedBy, type, attachType, helpers }: ProgramDefinition): Probe[] {
  const programs = `${attachType} programs`;
  const common = {
    usedBy,
    options: type === SK_LOOKUP ? 'CONFIG_BPF_SYSCALL, CONFIG_NET' : 'CONFIG_BPF_SYSCALL, CONFIG_CGROUP_BPF',
  };
  const program: Probe = {
    ...common,
    name: programs,
    since: PROGRAMS_SINCE[attachType],
    needs: undefined,
    isThere: () => probeProgram(type, attachType),
  };
  const link: Probe = {
    ...common,
    name: `links of ${programs}`,
    since: type === SK_LOOKUP ? SK_LOOKUP_LINK_SINCE : CGROUP_LINK_SINCE,
    needs: programs,
    isThere: () => probeLink(type, attachType),
  };
  const called = helpers.map((helper) => ({
    ...common,
    name: `helper bpf_${helper} in ${programs}`,
    since: helperSince(type, helper),
    needs: programs,
    isThere: () => probeHelper(type, attachType, helper),
  }));
  return [program, link, ...called];
}

function ofMap({ name: usedBy, type }: MapDefinition): Probe {
  return {
    name: `${type} maps`,
    since: MAPS_SINCE[type],
    usedBy,
    options: type === 'sockhash' ? 'CONFIG_BPF_SYSCALL, CONFIG_INET' : 'CONFIG_BPF_SYSCALL',
    needs: undefined,
    isThere: () => probeMapType(type),
  };
}
