// What the kernel has of the guard, for a comparison with what ought to be there.
import { BpfLink, programInfo } from '@sluice/libbpf';
import { openIfPinned } from '../pins.js';
import { guardPin } from './links.js';
import { GUARD_PARTS, type GuardPart } from './parts.js';

/** A part of the guard that is pinned: it is attached for as long as that. */
export interface GuardLink {
  readonly part: GuardPart;
  readonly programId: number;
  /** The ids of the maps that its program uses. */
  readonly mapIds: readonly number[];
}

/** Throws BpfError without the right to look. */
export function readGuard(pinDirectory: string): GuardLink[] {
  return GUARD_PARTS.flatMap((part) => {
    using link = openIfPinned(guardPin(pinDirectory, part), (pin) => BpfLink.openPinned(pin));
    if (link === undefined) return [];
    const { programId } = link.info();
    return [{ part, programId, mapIds: programInfo(programId).mapIds }];
  });
}
