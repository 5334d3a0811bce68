// What the kernel knows about programs, maps and links, by id: for status, and to find out who owns something.
import { native } from './native.js';
import type { LinkFacts, MapFacts, ProgramFacts } from './native.js';
import { attempt } from './error.js';
import { attachTypeName, linkTypeName, mapTypeName, programTypeName } from './names.js';
import { Descriptor } from './descriptor.js';

/** struct bpf_prog_info of linux/bpf.h: the parts that identify a program. */
export interface ProgramInfo {
  id: number;
  /** Cut to 15 characters by the kernel. */
  name: string;
  /** 'cgroup_sock_addr' */
  type: string;
  /** 16 hexadecimal digits: a hash of the instructions. */
  tag: string;
  /** The user id that loaded it. */
  loadedByUid: number;
  /** Nanoseconds since boot (CLOCK_BOOTTIME). */
  loadTimeNs: bigint;
  gplCompatible: boolean;
  /** Size after verification, in bytes. */
  instructionBytes: number;
  /** How many the verifier walked, every path counted; 0 before Linux 5.16. */
  verifiedInstructions: number;
  /** Counted while somebody asks for statistics (BPF_ENABLE_STATS). */
  runs: bigint;
  runTimeNs: bigint;
  mapIds: number[];
}

/** struct bpf_map_info of linux/bpf.h. */
export interface MapInfo {
  id: number;
  /** Cut to 15 characters by the kernel. */
  name: string;
  /** 'hash' */
  type: string;
  keySize: number;
  valueSize: number;
  maxEntries: number;
  flags: number;
}

/** struct bpf_link_info of linux/bpf.h, for the kinds of link that this package makes. */
export interface LinkInfo {
  id: number;
  programId: number;
  /** 'cgroup', 'netns', 'perf_event' and 'raw_tracepoint' of tracepoints, 'iter' */
  type: string;
  /** Cgroup links: the cgroup's id, which is the inode of its directory; 0 once the cgroup is gone. */
  cgroupId?: bigint;
  /** Netns links: the inode of the namespace; 0 once it is gone. */
  netnsInode?: number;
  /** 'cgroup_inet4_connect' */
  attachType?: string;
}

export function programFacts(facts: ProgramFacts): ProgramInfo {
  return { ...facts, type: programTypeName(facts.type) };
}

export function mapFacts(facts: MapFacts): MapInfo {
  return { ...facts, type: mapTypeName(facts.type) };
}

export function linkFacts(facts: LinkFacts): LinkInfo {
  const { attachType, ...rest } = facts;
  return {
    ...rest,
    type: linkTypeName(facts.type),
    ...(attachType === undefined ? {} : { attachType: attachTypeName(attachType) }),
  };
}

/** Facts about a loaded program. ENOENT if none has this id; needs CAP_SYS_ADMIN. */
export function programInfo(id: number): ProgramInfo {
  const what = `read program ${id}`;
  return byId(
    what,
    () => native.programFdById(id),
    (fd) => programFacts(native.programInfo(fd)),
  );
}

/** Facts about a map. ENOENT if none has this id; needs CAP_SYS_ADMIN. */
export function mapInfo(id: number): MapInfo {
  return byId(
    `read map ${id}`,
    () => native.mapFdById(id),
    (fd) => mapFacts(native.mapInfo(fd)),
  );
}

/** Facts about a link. ENOENT if none has this id, EAGAIN while one is being made; needs CAP_SYS_ADMIN. */
export function linkInfo(id: number): LinkInfo {
  return byId(
    `read link ${id}`,
    () => native.linkFdById(id),
    (fd) => linkFacts(native.linkInfo(fd)),
  );
}

/** The ids of all maps of the machine, ascending; needs CAP_SYS_ADMIN. */
export function mapIds(): number[] {
  return allIds('map', (id) => native.mapNextId(id));
}

/** The ids of all links of the machine, ascending; needs CAP_SYS_ADMIN. */
export function linkIds(): number[] {
  return allIds('link', (id) => native.linkNextId(id));
}

function byId<T>(what: string, open: () => number, read: (fd: number) => T): T {
  const descriptor = attempt(what, () => new Descriptor(open(), what));
  try {
    return attempt(what, () => read(descriptor.number));
  } finally {
    descriptor.close();
  }
}

function allIds(kind: string, next: (id: number) => number | undefined): number[] {
  return attempt(`list the ${kind}s of the machine`, () => {
    const ids: number[] = [];
    for (let id = next(0); id !== undefined; id = next(id)) ids.push(id);
    return ids;
  });
}
