// Many connections: forty thousand of one pod at once, and those that are open while the pod's capture changes.
import { Crowd, endpoint, requires, type Pod } from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { InPodNode, type Capture } from './in-pod-node.js';
import { FAMILIES, type Family } from './route-cases.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');
const AT_ONCE = 40_000;
const ESTABLISHED = 1000;
/** After each change. */
const MORE = 100;
const ECHO_PORT = 9000;
const all = (count: number) => ({ count, ok: count, redirected: count, wrongCount: 0, wrong: [] });

describe.skipIf(need.skip)(`many connections of a pod that is captured by route${need.label}`, () => {
  let node: InPodNode;

  beforeAll(async () => {
    node = await InPodNode.create({ capture: 'route' });
    await node.mesh.node.remote.serve([ECHO_PORT], { echo: true });
  });
  afterAll(async () => node?.close());

  it.each(FAMILIES)(`${AT_ONCE} at once to four destinations, %s`, async (family) => {
    const pod = await node.mesh.node.pod({ name: `crowded-${family}` });
    node.enrol(pod);
    // Nobody has these destinations: ztunnel answers for them. A process may open 20 000 files.
    const ztunnel = await node.listen(pod, { answer: true, echo: true, processes: 4, log: false });
    const destinations = [1, 2, 3, 4].map((n) => endpoint(family === 'ip4' ? `203.0.113.${n}` : `2001:db8::${n}`, 80));
    const each = AT_ONCE / destinations.length;
    const crowds = await Promise.all(destinations.map((to) => pod.crowd([to], each)));
    expect(crowds.map(({ summary }) => summary)).toEqual(destinations.map(() => all(each)));
    for (const crowd of crowds) expect(await crowd.echo()).toEqual({ alive: each, broken: {} });
    await Promise.all(crowds.map((crowd) => crowd.stop()));
    await ztunnel.stop();
    await pod.delete();
  });

  it.each(FAMILIES)(
    `${ESTABLISHED} that are open while the capture changes: none breaks, none fails, none gets out, %s`,
    async (family) => {
      const pod = await node.mesh.node.pod({ name: `changing-${family}` });
      const remote = node.mesh.node.remote[family];
      node.enrol(pod, 0, 'rewrite');
      await node.serve(pod);
      await pod.serve([ECHO_PORT], { echo: true });
      const load = await pod.load([endpoint(remote, 80)]);
      const out = (count: number): Promise<Crowd> => pod.crowd([endpoint(remote, ECHO_PORT)], count);
      const crowds = [
        await out(ESTABLISHED),
        await Crowd.start(node.mesh.node.remote, [endpoint(pod[family], ECHO_PORT)], MORE),
      ];
      for (const capture of ['route', 'rewrite', 'route'] as const) {
        node.enrol(pod, 0, capture);
        await load.progress(20);
        await expectCaptured(pod, family, capture);
        crowds.push(await out(MORE));
        for (const crowd of crowds) {
          const { count } = crowd.summary;
          expect(crowd.summary).toEqual(all(count));
          expect(await crowd.echo()).toEqual({ alive: count, broken: {} });
        }
      }
      expect(await load.stop()).toMatchObject({ direct: 0, refused: 0, errors: 0, firstErrors: [] });
      for (const crowd of crowds) await crowd.stop();
      await pod.delete();
    },
  );

  /** ztunnel is told the destination by its own address, or asks for it. */
  async function expectCaptured(pod: Pod, family: Family, capture: Capture): Promise<void> {
    const to = endpoint(node.mesh.node.remote[family], 80);
    const { hops } = await pod.dial(to);
    expect(hops).toMatchObject([
      { by: 'ztunnel', originalDst: to, local: capture === 'route' ? to : endpoint(pod[family], 15_001) },
      { by: 'remote' },
    ]);
  }
});
