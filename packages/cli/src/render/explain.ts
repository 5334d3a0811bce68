// Prints an explanation for people: the caller, each row that was tried, and the verdict.
import type { Explanation, InboundExplanation } from '@sluice/ambient-agent';
import { table } from './table.js';

function place({ ip, port }: { readonly ip: string; readonly port: number }): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
}

const verdicts = {
  pass: () => 'goes there directly',
  refuse: () => 'is refused (ECONNREFUSED)',
  redirect: (target: string) => `goes to ztunnel at ${target}, which learns the original destination`,
  'to-mesh': (target: string) => `goes to ztunnel's inbound port at ${target}, which learns the original destination`,
  route: () => "goes to ztunnel by the pod's own routes: its socket is marked, and its destination stays",
  hold: () => 'waits: its SYN is sent again until ztunnel listens, or until the client gives it up',
  dns: (target: string) => `goes to ztunnel's resolver at ${target}`,
} as const;

const captures = {
  route: () => 'by route: the socket is marked, and the destination stays',
  rewrite: (because: string) => `by rewrite: connect() is given ztunnel's address, because ${because}`,
} as const;

function captureLine({ capture }: Explanation['caller']): string[] {
  if (capture === undefined) return [];
  return [`captured  ${captures[capture.by](capture.by === 'rewrite' ? capture.because : '')}`];
}

/** Pure. */
export function renderExplanation({
  caller,
  destination,
  verdict,
  decidedBy,
  target,
  note,
  rows,
}: Explanation): string {
  const lines = rows.map(({ row, question, finding, matched }) => [matched ? '=>' : '', row, question, finding]);
  const outcome = verdicts[verdict](target === undefined ? 'an unknown address' : place(target));
  return [
    `from      ${caller.description} (${caller.inMaps})${caller.reason === undefined ? '' : `; ${caller.reason}`}`,
    `cgroup    ${caller.cgroup}`,
    ...captureLine(caller),
    ...(caller.device === undefined ? [] : [`device    ${caller.device}`]),
    `to        ${place(destination)}`,
    '',
    table(['', 'ROW', 'ASKS', 'FOUND'], lines),
    '',
    `${verdict}: decided by \`${decidedBy}\`; the connection ${outcome}`,
    ...(note === undefined ? [] : [`but ${note}`]),
  ].join('\n');
}

const inboundVerdicts = {
  pass: 'goes to the application',
  steer: 'goes to ztunnel, which sees the address that was dialled',
  refuse: 'is refused (ECONNREFUSED)',
  hold: 'waits: the client sends its SYN again until ztunnel listens, or gives it up',
} as const;

/** Pure. */
export function renderInbound({ client, pod, verdict, decidedBy, rows }: InboundExplanation): string {
  const lines = rows.map(({ row, question, finding, matched }) => [matched ? '=>' : '', row, question, finding]);
  return [
    `from      ${client}`,
    `to        ${place(pod)}, ${pod.description}; ${pod.reason}`,
    `program   ${pod.isAttached ? 'attached' : 'not attached'} to its network namespace`,
    '',
    table(['', 'ROW', 'ASKS', 'FOUND'], lines),
    '',
    `${verdict}: decided by \`${decidedBy}\`; the connection ${inboundVerdicts[verdict]}`,
  ].join('\n');
}
