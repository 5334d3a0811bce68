// The ways in which the datapath can fail, each with the object, the cause and the remedy.

export type DatapathErrorKind =
  /** The pin directory is not on a BPF file system. */
  | 'not-bpffs'
  /** The attach point is not a cgroup2 directory. */
  | 'not-cgroup2'
  /** The programs or maps could not be loaded; `cause` is the BpfError, with the verifier's log if it refused. */
  | 'load'
  /** A program could not be attached. */
  | 'attach'
  /** Nothing of Sluice is pinned where it was looked for. */
  | 'not-installed';

export class DatapathError extends Error {
  override readonly name = 'DatapathError';
  readonly kind: DatapathErrorKind;

  constructor(kind: DatapathErrorKind, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.kind = kind;
  }

  /** The sentence ends with the message of what was caught. */
  static because(kind: DatapathErrorKind, sentence: string, cause: unknown): DatapathError {
    const why = cause instanceof Error ? cause.message : String(cause);
    return new DatapathError(kind, `${sentence}: ${why}`, { cause });
  }
}
