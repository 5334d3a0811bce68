// Why `status`, `explain`, `watch` or `cleanup` cannot do its work.

export type InspectErrorKind =
  'no-state' | 'no-such-pod' | 'no-cgroup' | 'agent-running' | 'run-directory' | 'not-root' | 'kernel';

export class InspectError extends Error {
  override readonly name = 'InspectError';
  readonly kind: InspectErrorKind;

  constructor(kind: InspectErrorKind, message: string) {
    super(message);
    this.kind = kind;
  }
}
