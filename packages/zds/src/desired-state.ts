// What ztunnel is to have: the workloads, their open namespaces, and whether the newest ztunnel has acknowledged them.
import { ZdsError } from './errors.js';
import { encodeRequest, type WorkloadIdentity } from './messages.js';
import { NetnsHandle, type NetnsSource } from './netns-handle.js';

/** A pod that ztunnel is to serve. */
export interface ZdsWorkload extends WorkloadIdentity {
  /** The key: the pod's UID. */
  readonly uid: string;
  /** 'unknown': it is in the mesh, but its namespace cannot be found now; ztunnel is asked to keep what it has. */
  readonly netns: NetnsSource | 'unknown';
}

export type WorkloadStatus =
  | { readonly state: 'acked' }
  /** `reason`: why it is not, in words for a human. */
  | { readonly state: 'pending'; readonly reason: string };

export interface DesiredWorkload {
  readonly uid: string;
  readonly identity: WorkloadIdentity;
  /** Equal for equal identities. */
  readonly identityKey: string;
  readonly netns: NetnsHandle | undefined;
}

interface Entry {
  desired: DesiredWorkload;
  status: WorkloadStatus;
}

export class DesiredState implements Disposable {
  readonly #entries = new Map<string, Entry>();
  readonly #refusedNetns: ReadonlySet<string>;

  constructor(refusedNetns: ReadonlySet<string>) {
    this.#refusedNetns = refusedNetns;
  }

  get size(): number {
    return this.#entries.size;
  }

  uids(): string[] {
    return [...this.#entries.keys()];
  }

  get(uid: string): DesiredWorkload | undefined {
    return this.#entries.get(uid)?.desired;
  }

  status(uid: string): WorkloadStatus | undefined {
    return this.#entries.get(uid)?.status;
  }

  pending(): string[] {
    return [...this.#entries].filter(([, { status }]) => status.state === 'pending').map(([uid]) => uid);
  }

  setStatus(uid: string, status: WorkloadStatus): void {
    const entry = this.#entries.get(uid);
    if (entry !== undefined) entry.status = status;
  }

  /**
   * Adds or changes one. A namespace that cannot be opened because it is gone counts as unknown.
   * @returns Whether ztunnel must hear of it.
   * @throws ZdsError invalid-workload, message-too-long, not-a-netns, own-netns; nothing is changed then.
   */
  set(workload: ZdsWorkload): boolean {
    const { uid, name, namespace, serviceAccount } = workload;
    if (uid === '') throw new ZdsError('invalid-workload', 'a workload needs a uid');
    const identity = { name, namespace, serviceAccount };
    encodeRequest({ kind: 'add', uid, identity });
    const { netns, reason } = this.#open(workload);
    const identityKey = JSON.stringify([name, namespace, serviceAccount]);
    const before = this.#entries.get(uid);

    if (
      before !== undefined &&
      netns?.key === before.desired.netns?.key &&
      identityKey === before.desired.identityKey
    ) {
      netns?.close();
      return false;
    }
    before?.desired.netns?.close();
    const desired = { uid, identity, identityKey, netns };
    // ztunnel goes on serving a workload whose namespace we cannot find: what was acknowledged stays so.
    const stays = before?.status.state === 'acked' && netns === undefined && identityKey === before.desired.identityKey;
    this.#entries.set(uid, { desired, status: stays ? { state: 'acked' } : { state: 'pending', reason } });
    return true;
  }

  /** @returns Whether it was there. */
  delete(uid: string): boolean {
    this.#entries.get(uid)?.desired.netns?.close();
    return this.#entries.delete(uid);
  }

  [Symbol.dispose](): void {
    for (const uid of this.uids()) this.delete(uid);
  }

  #open({ netns }: ZdsWorkload): { readonly netns: NetnsHandle | undefined; readonly reason: string } {
    if (netns === 'unknown') return { netns: undefined, reason: 'its network namespace is not known' };
    try {
      return { netns: NetnsHandle.open(netns, this.#refusedNetns), reason: 'no ztunnel has acknowledged it' };
    } catch (error) {
      if (error instanceof ZdsError) throw error;
      const words = error instanceof Error ? error.message : String(error);
      return { netns: undefined, reason: `its network namespace cannot be opened: ${words}` };
    }
  }
}
