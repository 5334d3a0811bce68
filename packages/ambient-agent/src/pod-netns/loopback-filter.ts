// The tc filter on the loopback of a pod, which turns the mark of ztunnel's packets into that of the answers.
import { attachTc, detachTc, errorCode, tcFilters, type Netns, type TcPlace } from '@sluice/linux';
import { inTheWay, type PlumbingConflict } from './plumbing-conflict.js';

const DEVICE = 'lo';
/** It runs before filters with higher numbers, and beside others of its priority. */
const FILTER: TcPlace = { name: 'sluice_lo', priority: 1, handle: 0x539 };

/** As it is reported. */
export const FILTER_NAME = 'filter';

export const hasFilter = (netns: Netns): boolean =>
  tcFilters(netns, DEVICE).some(({ handle, bpf }) => handle === FILTER.handle && bpf?.name === FILTER.name);

/** @throws PlumbingConflict when the place is taken */
export function attachFilter(netns: Netns, programFd: number): ReturnType<typeof attachTc> {
  try {
    return attachTc(netns, DEVICE, { ...FILTER, programFd });
  } catch (error) {
    throw errorCode(error) === 'EEXIST' ? foreignFilter(netns) : error;
  }
}

/** Returns whether it was there. */
export const removeFilter = (netns: Netns, qdisc: 'keep' | 'remove-if-empty'): boolean =>
  detachTc(netns, DEVICE, { ...FILTER, qdisc }).filter === 'deleted';

function foreignFilter(netns: Netns): PlumbingConflict {
  const listed = tcFilters(netns, DEVICE).find(({ priority }) => priority === FILTER.priority);
  const whose = listed?.bpf?.name ?? listed?.kind ?? 'another filter';
  return inTheWay('filter', `"${whose}" is a filter of the loopback at the place that Sluice uses`, netns);
}
