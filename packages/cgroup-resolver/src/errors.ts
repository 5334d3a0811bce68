// The only error of this package: what could not be read, why, and what to do about it.

export type CgroupErrorReason =
  'cgroup2-absent' | 'not-cgroup2' | 'no-such-path' | 'permission-denied' | 'proc-unusable';

/** The cgroup tree or /proc cannot be used as requested. The message ends with the remedy. */
export class CgroupError extends Error {
  override readonly name = 'CgroupError';
  readonly reason: CgroupErrorReason;
  /** The path that the error is about. */
  readonly path: string;

  constructor(reason: CgroupErrorReason, path: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.reason = reason;
    this.path = path;
  }
}
