// How each kind of start differs from the kubelet's order.
import { KUBELET_ORDER, KUBELET_PAUSES, moved, without, type PodStart } from '@sluice/testbed';
import type { StartKind } from './steps.js';

/** Pure. */
export function orderOf(start: StartKind, hasPauses: boolean): PodStart {
  const order = hasPauses ? KUBELET_PAUSES : KUBELET_ORDER;
  switch (start) {
    case 'object-late':
      return moved(order, 'object', { after: 'app' });
    case 'status-never':
      return without(order, 'status');
    case 'no-pause':
      return without(order, 'sandbox');
    case 'no-logs':
      return without(order, 'logs');
    case 'no-logs-object-late':
      return moved(without(order, 'logs'), 'object', { after: 'app' });
    case 'addresses-late':
      return moved(order, 'addresses', { after: 'sandbox' });
    default:
      return order;
  }
}
