// What ztunnel ought to have: the workloads, their namespaces, and whether the newest ztunnel has acknowledged them.
import { fstatSync, statSync } from 'node:fs';
import type { Netns } from '@sluice/linux';
import { ZdsError } from './errors.js';
import { encodeRequest, type WorkloadIdentity } from './messages.js';

/** The parts of an open network namespace that are needed here: the cookie distinguishes it from every other one for ever. */
export type LentNetns = Pick<Netns, 'fd' | 'cookie'>;

/** A pod that ztunnel is to serve. */
export interface ZdsWorkload extends WorkloadIdentity {
  /** The key: the pod's UID. */
  readonly uid: string;
  /**
   * It is lent, and must stay open until the workload is deleted or set with another. 'unknown': the workload is in the mesh,
   * but its namespace cannot be found now; ztunnel is asked to keep what it has.
   */
  readonly netns: LentNetns | 'unknown';
}

export type WorkloadStatus =
  | { readonly state: 'acked' }
  /** `reason`: why it is not, in words for a human. */
  | { readonly state: 'unacked'; readonly reason: string };

export interface DesiredWorkload {
  readonly uid: string;
  readonly identity: WorkloadIdentity;
  /** Equal for equal identities. */
  readonly identityKey: string;
  netns: LentNetns | undefined;
}

interface Entry {
  desired: DesiredWorkload;
  status: WorkloadStatus;
}

export class DesiredState {
  readonly #entries = new Map<string, Entry>();
  readonly #allowOwnNetns: boolean;

  constructor(allowOwnNetns: boolean) {
    this.#allowOwnNetns = allowOwnNetns;
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

  unacked(): string[] {
    return [...this.#entries].filter(([, { status }]) => status.state === 'unacked').map(([uid]) => uid);
  }

  setStatus(uid: string, status: WorkloadStatus): void {
    const entry = this.#entries.get(uid);
    if (entry !== undefined) entry.status = status;
  }

  /**
   * Adds or changes a workload.
   * @returns Whether ztunnel must hear of it.
   * @throws ZdsError invalid-workload, message-too-long, own-netns; nothing is changed then.
   */
  set(workload: ZdsWorkload): boolean {
    const { uid, name, namespace, serviceAccount } = workload;
    if (uid === '') throw new ZdsError('invalid-workload', 'a workload needs a uid');
    const identity = { name, namespace, serviceAccount };
    encodeRequest({ kind: 'add', uid, identity });
    const netns = workload.netns === 'unknown' ? undefined : workload.netns;
    if (netns !== undefined && !this.#allowOwnNetns && isOwn(netns)) {
      const message = `the namespace of ${namespace}/${name} is the node's own network namespace; ztunnel would capture the node`;
      throw new ZdsError('own-netns', message);
    }
    const identityKey = JSON.stringify([name, namespace, serviceAccount]);
    const before = this.#entries.get(uid);

    if (
      before !== undefined &&
      netns?.cookie === before.desired.netns?.cookie &&
      identityKey === before.desired.identityKey
    ) {
      // From now on the old one may be closed.
      before.desired.netns = netns;
      return false;
    }
    const desired = { uid, identity, identityKey, netns };
    // ztunnel goes on serving a workload whose namespace we cannot find, so an acknowledgement stays valid.
    const stays = before?.status.state === 'acked' && netns === undefined && identityKey === before.desired.identityKey;
    const reason = netns === undefined ? 'its network namespace is not known' : 'no ztunnel has acknowledged it';
    this.#entries.set(uid, { desired, status: stays ? { state: 'acked' } : { state: 'unacked', reason } });
    return true;
  }

  /** @returns Whether it existed. */
  delete(uid: string): boolean {
    return this.#entries.delete(uid);
  }
}

/** Whether it is the namespace that this process is in. */
function isOwn({ fd }: LentNetns): boolean {
  const given = fstatSync(fd, { bigint: true });
  const own = statSync('/proc/self/ns/net', { bigint: true });
  return given.dev === own.dev && given.ino === own.ino;
}
