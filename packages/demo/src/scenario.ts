// The demo from beginning to end. Each step makes real connections and reports a row for each.
import { endpoint, KubernetesCluster, readDial } from '@sluice/testbed';
import { Announced } from './announced.js';
import { AMBIENT, EXCLUDED_PORT, assemble, type Cast } from './cast.js';
import type { DemoNode } from './demo-node.js';
import { inPodScene, ztunnelAway } from './in-pod-scene.js';
import { announcements, pendingUntilServed, serverAway } from './kubernetes-scene.js';
import type { DemoOptions } from './options.js';
import type { Report } from './report.js';
import { factRow, loadRow, rowOf, type Expectation } from './row.js';
import { settledRow, type Caller } from './settled.js';
import { sluiceOn, type Sluice } from './sluice.js';
import { until } from './until.js';

const direct = (application: string): Expectation => ({ kind: 'direct', application });
const outbound = (application: string): Expectation => ({ kind: 'mesh', port: 15001, application });
const inbound = (application: string): Expectation => ({ kind: 'mesh', port: 15006, application });

export async function play(node: DemoNode, report: Report, options: DemoOptions): Promise<void> {
  report.step('A node with pods, a stand-in ztunnel, a kubelet and another node is being made.');
  const cast = await assemble(node, options.mode);
  const sluice = await sluiceOn(node, options.mode);
  report.step('The agent starts: sluice run.');
  await sluice.agent.start();
  const cluster = node.kubernetes instanceof KubernetesCluster ? node.kubernetes : undefined;
  // In node mode nothing in the pod's namespace would take HBONE, so nothing is announced.
  const announced = new Announced(options.mode === 'inPod' ? cluster : undefined, report);
  const scene = new Scene(node, cast, sluice, announced, report);
  await scene.enrolled();
  await scene.outbound();
  await scene.inbound();
  if (cluster !== undefined && options.mode === 'inPod') {
    report.step('What Istio is told: an annotation on each meshed pod, by which istiod makes peers use HBONE.');
    await announcements(cast, announced);
  }
  const ztunnel = options.mode === 'inPod' ? await inPodScene(node, cast, report, options) : cast.ztunnel;
  if (!options.core) {
    await scene.latecomers();
    await scene.labels();
    await scene.status();
    if (options.mode === 'inPod') await ztunnelAway(node, cast, ztunnel, report);
    if (cluster !== undefined) {
      if (options.mode === 'inPod') await pendingUntilServed(node, ztunnel, announced, report);
      await serverAway(node, cluster, cast, { announced, sluice, report });
    }
    await scene.killed();
  }
  await scene.cleanup();
}

class Scene {
  readonly #node: DemoNode;
  readonly #cast: Cast;
  readonly #sluice: Sluice;
  readonly #announced: Announced;
  readonly #report: Report;

  constructor(node: DemoNode, cast: Cast, sluice: Sluice, announced: Announced, report: Report) {
    this.#node = node;
    this.#cast = cast;
    this.#sluice = sluice;
    this.#announced = announced;
    this.#report = report;
  }

  /** Until the agent knows the pods, their connections go directly; until ztunnel has acknowledged them, they wait. */
  async enrolled(): Promise<void> {
    const { cart, stock, host } = this.#cast;
    for (const pod of [cart, stock]) {
      await until(
        () => pod.dial(endpoint(this.#node.remote.ip4, 80)),
        ({ ok }) => ok,
      );
      await until(
        () => host.dial(endpoint(pod.ip4, 80)),
        ({ ok }) => ok,
      );
    }
  }

  async outbound(): Promise<void> {
    const { cart, stock, blog, ztunnel } = this.#cast;
    const { ip4, ip6 } = this.#node.remote;
    this.#report.step('Out of a meshed pod (namespace shop has the label), and out of one that is not (press).');
    await this.#dial('meshed pod to another node', 'shop/cart', cart, endpoint(ip4, 80), outbound('remote'));
    await this.#dial('the same, IPv6', 'shop/cart', cart, endpoint(ip6, 80), outbound('remote'));
    await this.#dial('the same, v4-mapped', 'shop/cart', cart, `[::ffff:${ip4}]:80`, outbound('remote'));
    await this.#dial(
      'meshed pod to a meshed neighbour',
      'shop/cart',
      cart,
      endpoint(stock.ip4, 80),
      outbound('shop/stock'),
    );
    await this.#dial('meshed pod to its own loopback', 'shop/cart', cart, '127.0.0.1:80', direct('shop/cart'));
    await this.#dial('meshed pod to its own IP', 'shop/cart', cart, endpoint(cart.ip4, 80), direct('shop/cart'));
    await this.#dial(
      'meshed pod to an excluded port',
      'shop/cart',
      cart,
      endpoint(ip4, EXCLUDED_PORT),
      direct('remote'),
    );
    await this.#dial(
      'the same port, another meshed pod',
      'shop/stock',
      stock,
      endpoint(ip4, EXCLUDED_PORT),
      outbound('remote'),
    );
    await this.#dial('unmeshed pod to another node', 'press/blog', blog, endpoint(ip4, 80), direct('remote'));
    await this.#dial('ztunnel itself', 'ztunnel', ztunnel.pod, endpoint(ip4, 80), direct('remote'));
  }

  async inbound(): Promise<void> {
    const { cart, blog, host, kubelet } = this.#cast;
    this.#report.step('Into a meshed pod, from this node.');
    await this.#dial('host process to a meshed pod', 'host', host, endpoint(cart.ip4, 80), inbound('shop/cart'));
    await this.#dial('the same, IPv6', 'host', host, endpoint(cart.ip6, 80), inbound('shop/cart'));
    await this.#dial('unmeshed pod to a meshed pod', 'press/blog', blog, endpoint(cart.ip4, 80), inbound('shop/cart'));
    await this.#dial(
      "the kubelet's probe of a meshed pod",
      'kubelet',
      kubelet,
      endpoint(cart.ip4, 80),
      direct('shop/cart'),
    );
    await this.#dial('the same, IPv6', 'kubelet', kubelet, endpoint(cart.ip6, 80), direct('shop/cart'));
    await this.#dial('host process to an unmeshed pod', 'host', host, endpoint(blog.ip4, 80), direct('press/blog'));
  }

  async latecomers(): Promise<void> {
    const { cart } = this.#cast;
    const to = endpoint(this.#node.remote.ip4, 80);
    this.#report.step('A container that starts now and dials at once, and a pod that comes while the agent runs.');
    const late = await cart.startContainer('late', ['dial', '--to', to]);
    const result = await readDial(late.process);
    this.#report.row(
      rowOf('a container that starts later dials at once', 'shop/cart (late)', result, outbound('remote')),
    );
    const fresh = await this.#node.pod({ name: 'fresh', namespace: 'shop' });
    await this.#settled('a pod that starts later', 'shop/fresh', fresh, to, outbound('remote'));
  }

  async labels(): Promise<void> {
    const { blog, host } = this.#cast;
    const to = endpoint(this.#node.remote.ip4, 80);
    this.#report.step(
      'kubectl label namespace press istio.io/dataplane-mode=ambient, and its removal, while the pod runs.',
    );
    this.#node.kubernetes.setNamespace('press', AMBIENT);
    await this.#settled('its namespace gets the label', 'press/blog', blog, to, outbound('remote'));
    await this.#announced.becomes(blog, 'enabled');
    await this.#settled('and who dials it', 'host', host, endpoint(blog.ip4, 80), inbound('press/blog'));
    this.#node.kubernetes.setNamespace('press', {});
    await this.#settled('its namespace loses the label', 'press/blog', blog, to, direct('remote'));
    await this.#announced.becomes(blog, 'absent');
    await this.#settled('and who dials it', 'host', host, endpoint(blog.ip4, 80), direct('press/blog'));
  }

  async status(): Promise<void> {
    const { cart } = this.#cast;
    this.#report.step('$ sluice status');
    this.#report.text(await this.#sluice.run('status'));
    const to = endpoint(this.#node.remote.ip4, 80);
    this.#report.step(`$ sluice explain --pod shop/cart --to ${to}`);
    this.#report.text(await this.#sluice.run('explain', '--pod', `${cart.namespace}/${cart.name}`, '--to', to));
  }

  async killed(): Promise<void> {
    const { cart, blog, host } = this.#cast;
    const to = endpoint(this.#node.remote.ip4, 80);
    this.#report.step('The agent is killed with -9 under connection load, and started again.');
    const load = await cart.load([to]);
    await this.#sluice.agent.kill9();
    await this.#dial('agent killed: redirection goes on', 'shop/cart', cart, to, outbound('remote'));
    await this.#dial('agent killed: unmeshed pod', 'press/blog', blog, to, direct('remote'));
    const orphan = await this.#node.pod({ name: 'orphan', namespace: 'shop', serve: [80] });
    await this.#held('a new pod of the mesh is held', 'shop/orphan', orphan, to);
    await this.#held('and so is who dials it', 'host', host, endpoint(orphan.ip4, 80));
    await this.#sluice.agent.start();
    await this.#dial('agent started again: adopted', 'shop/cart', cart, to, outbound('remote'));
    this.#report.row(loadRow('shop/cart', await load.stop()));
    await this.#settled('the new pod', 'shop/orphan', orphan, to, outbound('remote'));
    await this.#settled('and who dials it', 'host', host, endpoint(orphan.ip4, 80), inbound('shop/orphan'));
  }

  async cleanup(): Promise<void> {
    const { cart } = this.#cast;
    this.#report.step('The agent is stopped, and everything removed: sluice cleanup.');
    const { code } = await this.#sluice.agent.stop();
    this.#report.row(factRow('SIGTERM', 'sluice run', `exit code ${code}`, 'exit code 0', code === 0));
    const to = endpoint(this.#node.remote.ip4, 80);
    await this.#dial('agent stopped: redirection goes on', 'shop/cart', cart, to, outbound('remote'));
    await this.#sluice.run('cleanup');
    await this.#dial('after cleanup', 'shop/cart', cart, to, direct('remote'));
  }

  async #dial(what: string, from: string, caller: Caller, to: string, expected: Expectation): Promise<void> {
    this.#report.row(rowOf(what, from, await caller.dial(to), expected));
  }

  /** Refused, because nobody has decided about the pod. */
  async #held(what: string, from: string, caller: Caller, to: string): Promise<void> {
    const { ok, error } = await caller.dial(to);
    this.#report.row(factRow(what, from, ok ? 'connected' : error, 'ECONNREFUSED', error === 'ECONNREFUSED'));
  }

  async #settled(what: string, from: string, caller: Caller, to: string, expected: Expectation): Promise<void> {
    this.#report.row(await settledRow(what, from, caller, to, expected));
  }
}
