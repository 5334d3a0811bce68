// Every link of Sluice on this machine, pinned or not, whichever process made it. Links are found by their programs' names.
import { BpfError, linkIds, linkInfo, programInfo } from '@sluice/libbpf';

export interface LinkOfSluice {
  readonly id: number;
  /** The program's name, as the kernel cut it. */
  readonly name: string;
  readonly programId: number;
  /** 0 once the cgroup is gone; undefined if it is not attached to a cgroup. */
  readonly cgroupId: bigint | undefined;
  /** 0 once the namespace is gone; undefined if it is not attached to a network namespace. */
  readonly netnsInode: number | undefined;
  /** The maps that its program uses. */
  readonly mapIds: readonly number[];
}

/** The kernel cuts names to 15 characters, which leaves enough to recognise every program. */
const PROGRAM_PREFIX = 'sluice_';

/** Throws BpfError without the right to look. */
export function linksOfSluice(): LinkOfSluice[] {
  return linkIds().flatMap((id) => {
    const link = unlessGone(() => describe(id));
    return link === undefined || !link.name.startsWith(PROGRAM_PREFIX) ? [] : [link];
  });
}

function describe(id: number): LinkOfSluice {
  const { cgroupId, netnsInode, programId } = linkInfo(id);
  const { name, mapIds } = programInfo(programId);
  return { id, name, programId, cgroupId, netnsInode, mapIds };
}

/**
 * Undefined if the object was gone before it could be read. A link that another process is still making counts as one that is
 * not there: it has a number already, but the kernel answers EAGAIN to whoever asks for it, and it does nothing yet.
 */
export function unlessGone<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof BpfError && (error.code === 'ENOENT' || error.code === 'EAGAIN')) return undefined;
    throw error;
  }
}
