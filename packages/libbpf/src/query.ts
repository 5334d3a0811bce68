// What is attached to a cgroup, whichever process attached it (BPF_PROG_QUERY).
import { native } from './native.js';
import { attempt } from './error.js';
import { withDirectory } from './descriptor.js';
import { attachTypeNumber } from './names.js';
import { programInfo } from './info.js';
import type { ProgramInfo } from './info.js';

/** Bits of `attachFlags`: BPF_F_ALLOW_OVERRIDE and BPF_F_ALLOW_MULTI of linux/bpf.h. */
export const ATTACH_ALLOW_OVERRIDE = 1;
export const ATTACH_ALLOW_MULTI = 2;

const BPF_F_QUERY_EFFECTIVE = 1;

/** A program in a cgroup's list. Only `id` is certain: the rest is missing if the program is gone by now or we may not look. */
export interface AttachedProgram {
  id: number;
  name: string;
  /** 16 hexadecimal digits; '' when not known. */
  tag: string;
  type?: string;
  loadedByUid?: number;
}

export interface CgroupPrograms {
  /** 0 = exclusive, 1 = may be overridden below, 2 = several side by side. Always 0 in an effective query. */
  attachFlags: number;
  programs: AttachedProgram[];
}

/**
 * The programs of one attach type on a cgroup; with `effective`, those that really run there, inherited ones included, in the
 * order in which they run. ENOENT if the directory is gone, EBADF if it is not a cgroup2 directory.
 */
export function queryCgroup(cgroupPath: string, attachType: string, effective = false): CgroupPrograms {
  const type = attachTypeNumber(attachType);
  const { attachFlags, programIds } = attempt(
    `query ${attachType} of cgroup ${cgroupPath}`,
    () => withDirectory(cgroupPath, (fd) => native.programQuery(fd, type, effective ? BPF_F_QUERY_EFFECTIVE : 0)),
    (failure) =>
      failure.code === 'EBADF' ? `${cgroupPath} is not a directory of a cgroup2 file system (EBADF)` : undefined,
  );
  return { attachFlags, programs: programIds.map(describe) };
}

function describe(id: number): AttachedProgram {
  let info: ProgramInfo;
  try {
    info = programInfo(id);
  } catch {
    return { id, name: '', tag: '' };
  }
  return { id, name: info.name, tag: info.tag, type: info.type, loadedByUid: info.loadedByUid };
}
