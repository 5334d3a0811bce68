// A reused source port must never be given another connection's original destination.
import { endpoint, requires, type Pod } from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MeshedNode } from './meshed-node.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');
const CONNECTIONS = 20_000;

describe.skipIf(need.skip)(`reused source ports${need.label}`, () => {
  let mesh: MeshedNode;
  let pod: Pod;

  beforeAll(async () => {
    mesh = await MeshedNode.create();
    mesh.setZtunnel(await mesh.node.ztunnel({ mode: 'answer' }));
    pod = await mesh.node.pod({ name: 'busy' });
    mesh.enrol(pod);
    // Half of the destinations are excluded, and so not redirected.
    mesh.rules.push({ kind: 'port', workload: pod.cgroup.id, direction: 'outbound', action: 'exclude', port: 443 });
    mesh.settings = { ...mesh.settings, sampleEvery: 0 };
    mesh.apply();
  });
  afterAll(async () => mesh?.close());

  it(`${CONNECTIONS} connections, half of them redirected, without one wrong original destination`, async () => {
    const { ip4, ip6 } = mesh.node.remote;
    const targets = [endpoint(ip4, 80), endpoint(ip4, 443), endpoint(ip4, 8080), endpoint('10.66.1.3', 443)];
    const targets6 = [endpoint(ip6, 80), endpoint(ip6, 443), `[::ffff:${ip4}]:80`, `[::ffff:${ip4}]:443`];
    for (const [list, count] of [
      [targets, CONNECTIONS - 5000],
      [targets6, 5000],
    ] as const) {
      const to = list.flatMap((target) => ['--to', target]);
      const campaign = await pod.app.exec(['dial', ...to, '--source-ports', '40000-40039', '--count', String(count)]);
      const summary: unknown = JSON.parse(await campaign.nextLine());
      expect(summary).toEqual({ count, ok: count, redirected: count / 2, wrongCount: 0, wrong: [] });
    }
    expect(mesh.datapath.counters().events).toMatchObject({
      'origin-moved': BigInt(CONNECTIONS / 2),
      'origin-missing': 0n,
      'handoff-full': 0n,
    });
    expect(mesh.handoffs()).toBe(0);
  });

  it('the same with eight processes at once', async () => {
    const { ip4, ip6 } = mesh.node.remote;
    const lists = [
      [endpoint(ip4, 80), endpoint(ip4, 443), endpoint(ip4, 8080), endpoint('10.66.1.3', 443)],
      [endpoint(ip6, 80), endpoint(ip6, 443), `[::ffff:${ip4}]:80`, `[::ffff:${ip4}]:443`],
    ];
    const before = mesh.datapath.counters().events['origin-moved'];
    const count = 1250;
    const summaries = await Promise.all(
      Array.from({ length: 8 }, (_, n) =>
        pod.dialSourcePorts({ targets: lists[n % 2] ?? [], ports: [20_000 + n * 50, 20_049 + n * 50], count }),
      ),
    );
    for (const summary of summaries)
      expect(summary).toMatchObject({ count, ok: count, redirected: count / 2, wrong: [] });
    const { events } = mesh.datapath.counters();
    expect(events).toMatchObject({ 'origin-missing': 0n, 'handoff-full': 0n });
    expect(events['origin-moved'] - before).toBe(BigInt((8 * count) / 2));
    expect(mesh.handoffs()).toBe(0);
  });
});
