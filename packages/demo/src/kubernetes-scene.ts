// What only the Kubernetes API as source has: what Istio is told, and an API server that goes away.
import {
  endpoint,
  type ClusterState,
  type KubernetesCluster,
  type StandInZtunnel,
  type TestNode,
} from '@sluice/testbed';
import type { Announced } from './announced.js';
import { AMBIENT, type Cast } from './cast.js';
import type { Report } from './report.js';
import { factRow, loadRow, rowOf, type Expectation } from './row.js';
import { settledRow } from './settled.js';
import type { Sluice } from './sluice.js';
import { until } from './until.js';

const direct: Expectation = { kind: 'direct', application: 'remote' };
const outbound: Expectation = { kind: 'mesh', port: 15001, application: 'remote' };

export async function announcements({ cart, stock, blog, ztunnel }: Cast, announced: Announced): Promise<void> {
  await announced.becomes(cart, 'enabled');
  await announced.becomes(stock, 'enabled');
  await announced.becomes(blog, 'absent');
  await announced.becomes(ztunnel.pod, 'absent');
}

/** For inPod mode, with `ztunnel` as the only one. */
export async function pendingUntilServed(
  node: TestNode<ClusterState>,
  ztunnel: StandInZtunnel,
  announced: Announced,
  report: Report,
): Promise<void> {
  report.step('A pod that comes while there is no ztunnel: it waits, and Istio is told so.');
  const to = endpoint(node.remote.ip4, 80);
  await ztunnel.stop();
  const early = await node.pod({ name: 'early', namespace: 'shop' });
  await announced.becomes(early, 'pending');
  const meanwhile = early.dial(to);
  await ztunnel.start();
  await ztunnel.event('ready'); // the other pods are served again, too
  report.row(rowOf('its connection, made meanwhile', 'shop/early', await meanwhile, outbound));
  report.row(await settledRow('when ztunnel is there', 'shop/early', early, to, outbound));
  await announced.becomes(early, 'enabled');
}

export async function serverAway(
  node: TestNode<ClusterState>,
  cluster: KubernetesCluster,
  { cart, blog }: Cast,
  { announced, sluice, report }: { announced: Announced; sluice: Sluice; report: Report },
): Promise<void> {
  report.step('The API server goes away under connection load; namespace press gets the label; the server comes back.');
  const to = endpoint(node.remote.ip4, 80);
  const load = await cart.load([to]);
  const { history } = sluice.agent.process;
  const before = history.length;
  await cluster.away();
  // Until the agent has noticed, the following would show nothing.
  const { result: noticed = 'nothing' } = await until(
    async () => /the Kubernetes API cannot be asked for \w+/.exec(history.slice(before).join('\n'))?.[0],
    (found) => found !== undefined,
  );
  report.row(factRow("the agent's log", 'sluice run', noticed, 'that it cannot be asked', noticed !== 'nothing'));
  report.row(rowOf('server away: meshed pod', 'shop/cart', await cart.dial(to), outbound));
  cluster.setNamespace('press', AMBIENT);
  await cluster.settled();
  report.row(rowOf('server away: no one knows of the label', 'press/blog', await blog.dial(to), direct));
  await cluster.back();
  report.row(await settledRow('server back: the label counts', 'press/blog', blog, to, outbound));
  await announced.becomes(blog, 'enabled');
  report.row(loadRow('shop/cart', await load.stop()));
  cluster.setNamespace('press', {});
  report.row(await settledRow('the label is removed again', 'press/blog', blog, to, direct));
  await announced.becomes(blog, 'absent');
}
