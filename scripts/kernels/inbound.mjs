// The inbound half of inPod mode on this kernel, one JSON line per case: without the agent, like the datapath's own tests.
import { statSync } from 'node:fs';
import { release } from 'node:os';
import { relative } from 'node:path';
import { Datapath, WorkloadFlag, cleanup } from '@sluice/datapath';
import { listeningSockets, Netns, netnsCookie } from '@sluice/linux';
import { LineProcess, TestNode, cgroup2Root, endpoint, enterCommand, peerProgram } from '@sluice/testbed';

const node = await TestNode.create();
const pinDirectory = `${await node.bpffs()}/sluice`;
const datapath = Datapath.open({ pinDirectory, cgroup: node.cgroup.path });
const pod = await node.pod({ name: 'a' });
const ztunnel = await node.ztunnel({ mode: 'answer' });
const kubelet = await node.kubelet();
const application = await pod.serve([8080], { echo: true });
const netns = Netns.open(pod.netns);
const { cookie } = netns;

const cgroupId = (path) => statSync(path, { bigint: true }).ino;
const levelOf = (path) => relative(cgroup2Root(), path).split('/').length;
const flags = WorkloadFlag.AMBIENT | WorkloadFlag.IN_POD;
const entry = (path, more) => [
  cgroupId(path),
  { id: cgroupId(path), inMesh: false, ip: undefined, detectedFlags: 0, ...more },
];
const info = { inMesh: true, ip: pod.ip4, flags };
const callers = [
  entry(pod.cgroup.path, info),
  entry(ztunnel.pod.cgroup.path, { flags: WorkloadFlag.ZTUNNEL }),
  entry(kubelet.cgroup.path, { flags: WorkloadFlag.KUBELET }),
];
const { failures } = datapath.apply({
  cgroups: new Map(callers),
  netns: new Map([[cookie, callers[0][1]]]),
  localPods: new Map(pod.ips.map((ip) => [ip, { netnsCookie: cookie, flags }])),
  ownAddresses: new Map([[cookie, pod.ips]]),
  rules: [],
  settings: {
    ztunnelIPv4: undefined,
    ztunnelIPv6: undefined,
    noZtunnel: 'closed',
    ztunnelByMark: false,
    probesExempt: 'kubelet',
    hostNetnsCookie: netnsCookie(node.netns.path),
    cgroupLevels: [...new Set([pod, ztunnel.pod, kubelet].map(({ cgroup }) => levelOf(cgroup.path)))],
    sampleEvery: 0,
  },
});
if (failures.length > 0) throw failures[0].error;
datapath.activate();
datapath.attachNetns(netns);

const listen = async (name, cgroup) => {
  const argv = [peerProgram(), 'ztunnel', '--name', name, '--ports', '15001,15006,15008'];
  const process = await LineProcess.start(enterCommand({ netns: pod.netns, cgroup }, argv));
  await process.lineMatching(/^ready$/);
  return process;
};
const acceptors = ({ hops, error }) => hops.map(({ by, port }) => `${by}:${port}`).join(', ') || error;
const remote = async (port, ip = pod.ip4) => acceptors(await node.remote.dial(endpoint(ip, port)));
const inPod = async (ip) => acceptors(await pod.dial(endpoint(ip, 80)));

let failed = 0;
async function expectThat(what, expected, body) {
  const got = await body().catch((error) => String(error?.message ?? error));
  const ok = got === expected;
  failed += ok ? 0 : 1;
  console.log(JSON.stringify({ what, ok, got, ...(ok ? {} : { expected }), kernel: release() }));
}

await expectThat('no listener', 'ECONNREFUSED', () => remote(8080));
await listen('thief', pod.app.place.cgroup);
await expectThat('an application on 15006', 'ECONNREFUSED', () => remote(8080));
const listener = await listen('ztunnel', ztunnel.pod.app.place.cgroup);
for (const ip of pod.ips) {
  await expectThat(`steered, ${ip}`, 'ztunnel:15006, default/a:8080', () => remote(8080, ip));
  const probed = 'default/a:8080';
  await expectThat(`probe, ${ip}`, probed, async () => acceptors(await kubelet.dial(endpoint(ip, 8080))));
}
for (const ip of [node.remote.ip4, node.remote.ip6])
  await expectThat(`outbound, ${ip}`, 'ztunnel:15001, remote:80', () => inPod(ip));
await expectThat('the application starts again on its port', 'begin, ready', async () => {
  const argv = [peerProgram(), 'stream', '--to', endpoint(pod.ip4, 8080)];
  const client = await LineProcess.start(enterCommand({ netns: node.remote.netns.path }, argv));
  const { event } = JSON.parse(await client.nextLine());
  await application.restart();
  await client.stop();
  return `${event}, ready`;
});
await expectThat('a listener by its descriptor', 'the same', async () => {
  const [socket] = listeningSockets(listener.pid, { ports: [15006] });
  datapath.captureListener(cookie, 15006, socket.fd);
  const captured = datapath.capturedListener(cookie, 15006);
  socket.close();
  return captured === socket.socketCookie ? 'the same' : String(captured);
});
await expectThat('detached', 'default/a:8080', async () => {
  datapath.detachNetns(cookie);
  return remote(8080);
});
await expectThat('cleaned up', 'detached', async () => {
  datapath.attachNetns(netns);
  datapath.close();
  return cleanup(pinDirectory).detached.includes(`netns-${cookie}`) ? 'detached' : 'nothing';
});
await node.close();
process.exit(failed === 0 ? 0 : 1);
