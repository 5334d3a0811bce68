// What a ZDS server reports about itself as it happens.
import type { PeerCredentials } from '@sluice/linux';

/** Why a connection is over. */
export type EndReason = 'peer-closed' | 'violation' | 'deadline' | 'failed' | 'server-closed';

/** `connection` counts from 1 in the order of acceptance; `peer` is SO_PEERCRED of the process that connected. */
export type ZdsEvent =
  /** A ztunnel said Hello; it is the newest now, and its snapshot begins. */
  | { readonly kind: 'connected'; readonly connection: number; readonly peer: PeerCredentials }
  /** It acknowledged SnapshotSent: it has every workload whose namespace is known, except the refused ones. */
  | { readonly kind: 'synced'; readonly connection: number }
  | {
      readonly kind: 'disconnected';
      readonly connection: number;
      readonly peer: PeerCredentials;
      readonly reason: EndReason;
      readonly detail: string;
    }
  /** The newest ztunnel listens in the workload's present namespace. */
  | { readonly kind: 'acked'; readonly uid: string; readonly connection: number }
  /** A ztunnel refused a workload (or its removal); it is told again after `retryMs`, if that is a number. */
  | {
      readonly kind: 'nacked';
      readonly uid: string;
      readonly connection: number;
      readonly reason: string;
      readonly retryMs: number | undefined;
    }
  /** A workload that was acknowledged no longer is. */
  | { readonly kind: 'unacked'; readonly uid: string; readonly reason: string }
  /** A ztunnel acknowledged that it left the workload's namespace. */
  | { readonly kind: 'removed'; readonly uid: string; readonly connection: number }
  /** A peer that may not speak, or one too many; nothing that it sent was read. */
  | { readonly kind: 'refused'; readonly peer: PeerCredentials; readonly reason: string }
  | {
      readonly kind: 'protocolViolation';
      readonly connection: number;
      readonly peer: PeerCredentials;
      readonly reason: string;
    }
  /** No connection could be accepted; it is tried again. */
  | { readonly kind: 'acceptFailed'; readonly reason: string };
