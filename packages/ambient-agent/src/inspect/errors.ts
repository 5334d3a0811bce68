// Why `status`, `explain`, `watch` or `cleanup` cannot do its work.

export type InspectErrorKind =
  'no-state' | 'no-such-pod' | 'no-cgroup' | 'no-device' | 'agent-running' | 'run-directory' | 'not-root' | 'kernel';

export class InspectError extends Error {
  override readonly name = 'InspectError';
  readonly kind: InspectErrorKind;

  constructor(kind: InspectErrorKind, message: string) {
    super(message);
    this.kind = kind;
  }
}

/** Pure. `name` with its namespace. */
export const noSuchPod = (name: string, node: string): string =>
  `the agent knows no pod ${name} on node ${node}; \`sluice status\` lists those it knows. A new pod of a namespace in the mesh is held, out and in, until an agent has decided about it`;
