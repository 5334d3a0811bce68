// What only inPod mode has: clients of other nodes, the client's own address, HBONE, a rollout of ztunnel, DNS.
import { endpoint, type ClusterState, type DialResult, type StandInZtunnel, type TestNode } from '@sluice/testbed';
import { OTHER_PORT, type Cast } from './cast.js';
import type { DemoOptions } from './options.js';
import type { Report } from './report.js';
import { factRow, loadRow, rowOf, type Expectation } from './row.js';
import { until } from './until.js';
import { zdsSocket } from './zds-socket.js';

const outbound: Expectation = { kind: 'mesh', port: 15001, application: 'remote' };
const inbound: Expectation = { kind: 'mesh', port: 15006, application: 'shop/cart' };

/** The pod's HBONE port: peers' ztunnels dial it, and nothing steers it. */
const HBONE_PORT = 15008;

const NEXT_ZTUNNEL = 'ztunnel-new';

const clientOf = ({ sockname }: DialResult): string => hostOf(sockname);
const seenBy = ({ hops }: DialResult): string => hostOf(hops.at(-1)?.peer ?? '');
const hostOf = (address: string): string =>
  address.slice(0, address.lastIndexOf(':')).replace(/^\[::ffff:(.*)\]$/, '$1');

/** Returns the ztunnel that is left in the end. */
export async function inPodScene(
  node: TestNode<ClusterState>,
  cast: Cast,
  report: Report,
  options: DemoOptions,
): Promise<StandInZtunnel> {
  await fromOtherNode(node, cast, report);
  if (options.core) return cast.ztunnel;
  await applicationRestarts(node, cast, report);
  const ztunnel = await ztunnelRollout(node, cast, report);
  await dns(node, cast, report);
  return ztunnel;
}

async function fromOtherNode(node: TestNode<ClusterState>, { cart, kubelet }: Cast, report: Report): Promise<void> {
  report.step(
    'Into a meshed pod from another node, in plain text: captured on any port, and the application sees its client.',
  );
  await cart.serve([OTHER_PORT]);
  for (const [what, to] of [
    ['client on another node', endpoint(cart.ip4, 80)],
    ['the same, IPv6', endpoint(cart.ip6, 80)],
    ['the same, another port', endpoint(cart.ip4, OTHER_PORT)],
  ] as const) {
    const result = await node.remote.dial(to);
    report.row(rowOf(what, 'other node', result, inbound));
    report.row(seesClient('the application sees as its client', 'other node', result));
  }
  report.row(
    seesClient('the probed application sees as its client', 'kubelet', await kubelet.dial(endpoint(cart.ip4, 80))),
  );
  const hbone = await node.remote.dial(endpoint(cart.ip4, HBONE_PORT));
  const [first] = hbone.hops;
  const found = first === undefined ? hbone.error : `${first.by}:${first.port}, dialled ${first.local}`;
  const ok = hbone.ok && first?.port === HBONE_PORT && first.local === hbone.to;
  report.row(factRow('HBONE reaches ztunnel untouched', 'other node', found, `ztunnel:${HBONE_PORT}`, ok));
}

function seesClient(what: string, from: string, result: DialResult): ReturnType<typeof factRow> {
  const [seen, client] = [seenBy(result), clientOf(result)];
  return factRow(what, from, seen || result.error, client, result.ok && seen === client && seen !== '');
}

async function applicationRestarts(node: TestNode<ClusterState>, { cart }: Cast, report: Report): Promise<void> {
  report.step('The application restarts on its port while captured connections to it are open.');
  const server = await cart.serve([OTHER_PORT + 1], { echo: true });
  const to = endpoint(cart.ip4, OTHER_PORT + 1);
  const open = await node.remote.stream(to);
  await open.progress(1);
  await server.restart();
  report.row(rowOf('after the restart', 'other node', await node.remote.dial(to), inbound));
  await open.stop();
  await server.stop();
}

async function ztunnelRollout(
  node: TestNode<ClusterState>,
  { cart, ztunnel }: Cast,
  report: Report,
): Promise<StandInZtunnel> {
  report.step('A rollout of ztunnel under connection load: a second one comes, the first one leaves.');
  const to = endpoint(node.remote.ip4, 80);
  const loads = [await cart.load([to]), await node.remote.load([endpoint(cart.ip4, 80)])];
  const next = await node.ztunnel({ mode: 'inPod', zdsSocket: zdsSocket(node), name: NEXT_ZTUNNEL });
  await until(
    () => cart.dial(to),
    ({ hops }) => hops[0]?.by === NEXT_ZTUNNEL,
  );
  // The new one must have every pod before the old one may leave.
  await next.until(() => next.workloads.size === ztunnel.workloads.size);
  await ztunnel.stop();
  for (const [from, load] of [
    ['shop/cart', loads[0]],
    ['other node', loads[1]],
  ] as const) {
    if (load !== undefined) report.row(loadRow(from, await load.stop()));
  }
  return next;
}

/** With `ztunnel` as the only one. */
export async function ztunnelAway(
  node: TestNode<ClusterState>,
  { cart }: Cast,
  ztunnel: StandInZtunnel,
  report: Report,
): Promise<void> {
  report.step('ztunnel ends, and starts again: what is dialled meanwhile waits for it.');
  await ztunnel.stop();
  const out = cart.dial(endpoint(node.remote.ip4, 80));
  const into = node.remote.dial(endpoint(cart.ip4, 80));
  await ztunnel.start();
  report.row(rowOf('out of a meshed pod', 'shop/cart', await out, outbound));
  report.row(rowOf('and into it', 'other node', await into, inbound));
  await ztunnel.event('ready'); // the other pods are served again, too
}

async function dns(node: TestNode<ClusterState>, { cart, blog }: Cast, report: Report): Promise<void> {
  report.step('DNS of a meshed pod, over UDP and TCP, goes to ztunnel; the application sees the server that it asked.');
  const server = endpoint(node.remote.ip4, 53);
  for (const protocol of ['udp', 'tcp'] as const) {
    const { answer, by, from, error } = await cart.resolve({ server, protocol });
    const found = error || `${answer} by ${by}, seen from ${from}`;
    report.row(factRow(`a name over ${protocol}`, 'shop/cart', found, 'ztunnel', by === 'ztunnel' && from === server));
  }
  const { by, answer, error } = await blog.resolve({ server });
  report.row(factRow('a name over udp', 'press/blog', error || `${answer} by ${by}`, 'remote', by === 'remote'));
}
