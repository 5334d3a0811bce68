// A CNI's socket load balancer above the pods, which comes and goes: it translates a Service after us. By rewrite ztunnel gets the
// Service; by route it would get a backend, so that the pod is captured by rewrite while such a program is there. The change
// costs no connection.
import { endpoint, requires, TestNode, type Load, type Pod } from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ForeignPrograms } from './foreign-programs.js';
import { InPodNode, type Capture } from './in-pod-node.js';
import { MeshedNode } from './meshed-node.js';
import { FAMILIES, type Family } from './route-cases.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');
// As in foreign.bpf.c.
const SERVICE = { ip4: '192.0.2.10', ip6: '2001:db8::10' };
/** How many connections are made under each capture before it changes. */
const ENOUGH = 30;

describe.each(['before', 'after'] as const)('with a foreign program at connect()', (when) => {
  describe.skipIf(need.skip)(`above the pods, attached ${when} ours${need.label}`, () => {
    let node: InPodNode;
    let foreign: ForeignPrograms | undefined;
    let pod: Pod;

    beforeAll(async () => {
      const testbed = await TestNode.create();
      if (when === 'before') attach(testbed);
      node = await InPodNode.on(await MeshedNode.on(testbed, testbed.cgroup.child('kubepods').path));
      if (when === 'after') attach(testbed);
      pod = await node.pod({ name: 'a' });
    });
    afterAll(async () => {
      await node?.close();
      detach();
    });

    function attach(testbed: TestNode): void {
      foreign = new ForeignPrograms();
      foreign.attachCgroup(testbed.cgroup.path);
    }
    function detach(): void {
      foreign?.close();
      foreign = undefined;
    }

    /** What the pod and ztunnel see of a connection to the Service, and where it ends. */
    async function expectService(family: Family, toZtunnel: Record<Family, string>): Promise<void> {
      const result = await pod.dial(endpoint(SERVICE[family], 80));
      expect(result.peername).toBe(endpoint(SERVICE[family], 80));
      expect(result.hops).toMatchObject([
        { by: 'ztunnel', port: 15001, originalDst: endpoint(toZtunnel[family], 80) },
        { by: 'remote', local: endpoint(node.mesh.node.remote[family], 80) },
      ]);
    }

    const change = async (load: Load, capture: Capture): Promise<void> => {
      node.enrol(pod, 0, capture);
      await load.progress(ENOUGH);
    };

    it('ztunnel gets the Service by rewrite, and a backend by route; both are in the mesh', async () => {
      const { remote } = node.mesh.node;
      for (const family of FAMILIES) await expectService(family, SERVICE);
      node.enrol(pod, 0, 'route');
      for (const family of FAMILIES) await expectService(family, { ip4: remote.ip4, ip6: remote.ip6 });
      node.enrol(pod, 0, 'rewrite');
    });

    it('the program goes, comes back and goes, and the capture with it, without a failed call', async () => {
      const { remote } = node.mesh.node;
      const load = await pod.load(FAMILIES.map((family) => endpoint(remote[family], 80)));
      await load.progress(ENOUGH);
      for (const _ of [1, 2]) {
        detach();
        await change(load, 'route');
        attach(node.mesh.node);
        await load.progress(ENOUGH); // until the agent has seen it
        await change(load, 'rewrite');
        for (const family of FAMILIES) await expectService(family, SERVICE);
      }
      expect(await load.stop()).toMatchObject({ refused: 0, errors: 0, direct: 0, firstErrors: [] });
    });
  });
});
