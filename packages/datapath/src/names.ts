// The C enumerations in the words that people read: VERDICT_TO_MESH is `to-mesh`.
import type { Reason, Verdict } from './model.js';

/** Index: `enum verdict` of bpf/maps.h. */
export const VERDICTS: readonly Verdict[] = ['pass', 'refuse', 'redirect', 'to-mesh', 'dns'];

/** Index: `enum reason` of bpf/maps.h. */
export const REASONS: readonly Reason[] = [
  'ztunnel',
  'probe',
  'pending',
  'to-mesh',
  'not-in-mesh',
  'loopback',
  'self',
  'excluded',
  'no-ztunnel',
  'redirect',
  'other-netns',
  'dns',
];

/** Index: `enum event` of bpf/maps.h. */
export const EVENTS = [
  'origin-moved',
  'origin-missing',
  'pending-full',
  'storage-failed',
  'decision-lost',
  'exempt-full',
  'listener-lost',
  'dns-asked',
  'dns-answered',
] as const;
export type DatapathEvent = (typeof EVENTS)[number];
