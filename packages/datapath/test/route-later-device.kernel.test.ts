// A socket that is bound to a device after connect(), which needs no capability while it is bound to none. What is captured by route stays in
// the pod, whether ztunnel has answered already or not.
import { silentListener, type OwnedFd } from '@sluice/linux';
import { requires, type Pod } from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PodProcess } from './guarded-node.js';
import { InPodNode } from './in-pod-node.js';
import { FAMILIES, segmentsReceived, tcpCounter } from './route-cases.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');
const PORT = 80;

describe.skipIf(need.skip)(`a device that a socket gets after connect()${need.label}`, () => {
  let node: InPodNode;
  let remote: InPodNode['mesh']['node']['remote'];
  let holding: OwnedFd;

  beforeAll(async () => {
    node = await InPodNode.create({ capture: 'route' });
    ({ remote } = node.mesh.node);
    holding = silentListener();
    node.mesh.datapath.holdBy(holding.fd);
  });
  afterAll(async () => {
    holding?.close();
    await node?.close();
  });

  async function withSecondDevice(name: string): Promise<{ pod: Pod; process: PodProcess }> {
    const pod = await node.mesh.node.pod({ name });
    await pod.addDevice('net1');
    return { pod, process: await PodProcess.start({ cgroup: pod.app.place.cgroup, netns: pod.netns }) };
  }

  /** A socket that is connected, or whose SYN waits. */
  async function dialled(process: PodProcess, ip: string, how: 'connect' | 'begin'): Promise<number> {
    const id = await process.socket(ip);
    expect(await process.run(how, id, ip, PORT)).toBe(how === 'connect' ? 'ok' : 'EINPROGRESS');
    return id;
  }

  it('takes a connection that is not captured along', async () => {
    const { pod, process } = await withSecondDevice('plain');
    for (const family of FAMILIES) {
      const id = await dialled(process, remote[family], 'connect');
      expect(await process.run('set', id, 'device', 'net1')).toBe('ok');
      const before = await segmentsReceived(remote.netns);
      expect(await process.run('send', id, 'text')).toBe('ok');
      await expect.poll(() => segmentsReceived(remote.netns)).toBeGreaterThan(before);
    }
    await pod.delete();
  });

  describe.each(FAMILIES)('%s', (family) => {
    it.each(['eth0', 'net1', 'lo'])('%s: an established connection stays in the pod', async (device) => {
      const { pod, process } = await withSecondDevice('served');
      node.enrol(pod);
      const ztunnel = await node.listen(pod, { answer: true, echo: true });
      const id = await dialled(process, remote[family], 'connect');
      expect(await process.run('set', id, 'device', device)).toBe('ok');
      const [before, sent] = [await segmentsReceived(remote.netns), segmentsSent(process)];
      expect(await process.run('send', id, 'text')).toBe('ok');
      expect(segmentsSent(process)).toBeGreaterThan(sent);
      expect(await segmentsReceived(remote.netns)).toBe(before);
      await ztunnel.stop();
      await pod.delete();
    });

    it.each(['eth0', 'net1', 'lo'])('%s: one that nobody has answered yet stays in the pod', async (device) => {
      const { pod, process } = await withSecondDevice('waiting');
      node.enrol(pod);
      const id = await dialled(process, remote[family], 'begin');
      const [before, sent] = [await segmentsReceived(remote.netns), segmentsSent(process)];
      expect(await process.run('set', id, 'device', device)).toBe('ok');
      await expect.poll(() => segmentsSent(process)).toBeGreaterThan(sent + 1);
      expect(await segmentsReceived(remote.netns)).toBe(before);
      await pod.delete();
    });
  });
});

/** By the process's namespace, those that are sent again included. */
const segmentsSent = ({ pid }: PodProcess): number => tcpCounter(pid, 'OutSegs') + tcpCounter(pid, 'RetransSegs');
