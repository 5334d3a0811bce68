// Prints a record of `sluice watch` for people, in one line.
import type { WatchRecord } from '@sluice/ambient-agent';

/** Pure. */
export function renderRecord(record: WatchRecord): string {
  if (record.kind === 'overrun') return `(lost ${record.lost ?? 'some'} ${record.of})`;
  if (record.kind === 'decision') {
    const { ip, port } = record.destination;
    const to = ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
    return `connect  ${String(record.pid).padStart(7)} ${record.comm.padEnd(15)} ${record.pod ?? '-'} -> ${to} ${record.verdict} (${record.reason})`;
  }
  const { event, pid, comm, where, pod, podUid, containerId, state } = record;
  const whose = where === 'host' ? 'host' : (pod ?? (podUid === undefined ? where : `pod ${podUid}`));
  const details = [
    ...(containerId === undefined ? [] : [`container=${containerId.slice(0, 12)}`]),
    ...(record.cgroupId === undefined ? [] : [`cgroup=${record.cgroupId}`]),
    ...(record.ips.length === 0 ? [] : [`ip=${record.ips.join(',')}`]),
    ...(state === undefined ? [] : [`mesh=${state}`]),
  ];
  return [event.padEnd(8), String(pid).padStart(7), (comm ?? '?').padEnd(15), whose, ...details].join(' ');
}
