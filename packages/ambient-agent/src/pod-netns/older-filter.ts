// The tc filter that an older release has put on the loopback of each pod: it is recognised and removed.
import { detachTc, errorCode, tcFilters, type Netns, type TcFilter, type TcPlace } from '@sluice/linux';

const DEVICE = 'lo';
const FILTER: TcPlace = { name: 'sluice_lo', priority: 1, handle: 0x539 };

/** As it is reported. */
export const FILTER_NAME = 'filter';

export const hasOlderFilter = (netns: Netns): boolean =>
  filters(netns).some(({ handle, bpf }) => handle === FILTER.handle && bpf?.name === FILTER.name);

/** Returns whether it was there. */
export const removeOlderFilter = (netns: Netns, qdisc: 'keep' | 'remove-if-empty'): boolean =>
  detachTc(netns, DEVICE, { ...FILTER, qdisc }).filter === 'deleted';

function filters(netns: Netns): readonly TcFilter[] {
  try {
    return tcFilters(netns, DEVICE);
  } catch (error) {
    // A kernel without traffic control (CONFIG_NET_SCHED).
    if (errorCode(error) === 'ENOTSUP') return [];
    throw error;
  }
}
