// Programs of other people on the hooks that we use, wherever they are attached and whenever: both theirs and ours work.
import { fileURLToPath } from 'node:url';
import { listeningSockets } from '@sluice/linux';
import { DNS_ANSWERS, LineProcess, TestNode, endpoint, enterCommand, requires } from '@sluice/testbed';
import type { HostProcess, Pod, Server } from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WorkloadFlag } from '../src/index.js';
import { ForeignPrograms } from './foreign-programs.js';
import { InPodNode } from './in-pod-node.js';
import { MeshedNode } from './meshed-node.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');
const ASKER = fileURLToPath(new URL('ask-foreign.mjs', import.meta.url));

// As in foreign.bpf.c.
const SERVICE = { ip4: '192.0.2.10', ip6: '2001:db8::10' };
const REFUSED_PORT = 4001;
const SHOWN_PORT = 4002;
const UNBINDABLE_PORT = 4004;
const PRIVILEGED_PORT = 82;
const SHY_CLIENT_PORT = 4007;
const STEERED_PORT = 4008;
/** 4242, the answer of foreign_getsockopt, as an int of a little-endian machine. */
const ANSWER = '92100000';

const EXCLUDED_PORT = 443;
const APPLICATION_PORT = 80;
const ECHO_PORT = 8082;
const STEERING_TARGET = 8081;
/** No name server's, so that nothing captures it. */
const UNCAPTURED_DNS_PORT = 5353;

/** Ours are attached to kubepods/. The pods and ztunnel are below its child besteffort/. */
const PLACES = { child: 'kubepods/besteffort', same: 'kubepods', parent: '' } as const;
const CASES = (['child', 'same', 'parent'] as const).flatMap((place) =>
  (['before', 'after'] as const).map((when) => ({ place, when })),
);

for (const { place, when } of CASES) {
  describe.skipIf(need.skip)(`foreign programs at ${place} cgroup, attached ${when} ours${need.label}`, () => {
    /** The kernel runs a child's programs before its parent's, and those of one cgroup in the order of attaching. */
    const runFirst = place === 'child' || (place === 'same' && when === 'before');
    let foreign: ForeignPrograms;
    let world: InPodNode;
    let pod: Pod;
    /** In the mesh, but ztunnel has not been told of it: nobody listens for it. */
    let unserved: Pod;
    let pending: Pod;
    let outsider: Pod;
    let kubelet: HostProcess;
    let remote: { readonly ip4: string; readonly ip6: string };

    beforeAll(async () => {
      foreign = new ForeignPrograms();
      const node = await TestNode.create();
      const attach = (): void => foreign.attachCgroup(node.cgroup.child(PLACES[place]).path);
      if (when === 'before') attach();
      world = await InPodNode.on(await MeshedNode.on(node, node.cgroup.child('kubepods').path));
      if (when === 'after') attach();
      remote = node.remote;
      // Below ours, which exempts what it sees dial.
      kubelet = await node.hostProcess('kubelet', 'kubepods/kubelet');
      world.mesh.setKubelet(kubelet);
      pod = await node.pod({ name: 'a', serve: [APPLICATION_PORT] });
      await pod.serve([ECHO_PORT], { echo: true });
      unserved = await node.pod({ name: 'unserved' });
      pending = await node.pod({ name: 'pending' });
      outsider = await node.pod({ name: 'outsider' });
      const rule = { kind: 'port', direction: 'outbound', action: 'exclude', port: EXCLUDED_PORT } as const;
      world.mesh.rules.push({ ...rule, workload: pod.cgroup.id });
      if (when === 'before') foreign.attachNetns(pod.netns);
      world.enrol(pod, WorkloadFlag.DNS_CAPTURE);
      if (when === 'after') foreign.attachNetns(pod.netns);
      await world.serve(pod);
      world.enrol(unserved);
      if (when === 'before') foreign.attachNetns(pending.netns);
      world.enrol(pending, WorkloadFlag.PENDING);
      if (when === 'after') foreign.attachNetns(pending.netns);
      const { A, AAAA } = DNS_ANSWERS.remote;
      const servers = [remote.ip4, remote.ip6].flatMap((ip) => ['--at', endpoint(ip, UNCAPTURED_DNS_PORT)]);
      const dns = await node.remote.exec(['dns', '--name', 'remote', '--answer4', A, '--answer6', AAAA, ...servers]);
      await dns.lineMatching(/^ready$/);
    });
    afterAll(async () => {
      await world?.close();
      foreign?.close();
    });

    /** An application that gets what foreign_lookup steers. */
    async function serveSteered(at: Pod): Promise<Server> {
      const application = await at.serve([STEERING_TARGET]);
      const [listener] = listeningSockets(application.pid, { ports: [STEERING_TARGET] });
      if (listener === undefined) throw new Error('the application does not listen');
      foreign.steerTo(listener.fd);
      listener.close();
      return application;
    }

    const FAMILIES = [
      ['IPv4', 'ip4', 0],
      ['IPv6', 'ip6', 1],
    ] as const;

    describe.each(FAMILIES)('%s', (_name, family, type) => {
      const record = (['A', 'AAAA'] as const)[type];
      /** An address of the other node that foreign.bpf.c does not know. */
      const plain = (): string => world.mesh.node.remote.hosts[type * 2 + 1] as string;

      it('connect and getpeername: a captured connection to a service of theirs', async () => {
        const service = endpoint(SERVICE[family], APPLICATION_PORT);
        const backend = endpoint(remote[family], APPLICATION_PORT);
        const result = await pod.dial(service);
        expect(result).toMatchObject({ ok: true, peername: service });
        expect(result.hops).toMatchObject([
          { by: 'ztunnel', port: 15001, originalDst: runFirst ? backend : service },
          { by: 'remote', local: backend },
        ]);
      });

      it('connect and getpeername: one that is captured and no service of theirs, and one that is not captured', async () => {
        const captured = endpoint(plain(), APPLICATION_PORT);
        const result = await pod.dial(captured);
        expect(result).toMatchObject({ ok: true, peername: captured });
        expect(result.hops).toMatchObject([{ by: 'ztunnel', originalDst: captured }, { by: 'remote' }]);
        const service = endpoint(SERVICE[family], EXCLUDED_PORT);
        const direct = await pod.dial(service);
        expect(direct).toMatchObject({ ok: true, peername: service });
        expect(direct.hops).toMatchObject([{ by: 'remote', local: endpoint(remote[family], EXCLUDED_PORT) }]);
      });

      it('connect: what both refuse has their errno, what we refuse ours, what they refuse theirs', async () => {
        const refused = endpoint(plain(), REFUSED_PORT);
        expect(await outsider.dial(refused)).toMatchObject({ error: 'EHOSTUNREACH' });
        expect(await pending.dial(refused)).toMatchObject({ error: 'EHOSTUNREACH' });
        expect(await pending.dial(endpoint(plain(), APPLICATION_PORT))).toMatchObject({ error: 'ECONNREFUSED' });
        // Behind us they see where we sent it, and refuse what ztunnel dials.
        const captured = await pod.dial(refused);
        if (runFirst) expect(captured).toMatchObject({ ok: false, error: 'EHOSTUNREACH', hops: [] });
        else expect(captured.hops).toMatchObject([{ by: 'ztunnel', originalDst: refused }, { error: 'dial' }]);
      });

      it('sendmsg and recvmsg: a service of theirs, a question to it, one to another server', async () => {
        const service = endpoint(SERVICE[family], UNCAPTURED_DNS_PORT);
        expect(await pod.resolve({ server: service, type: record })).toMatchObject({ by: 'remote', from: service });
        const refused = endpoint(plain(), REFUSED_PORT);
        expect(await pod.resolve({ server: refused })).toMatchObject({ error: 'EHOSTUNREACH' });
        const other = endpoint(plain(), 53);
        expect(await pod.resolve({ server: other, type: record })).toMatchObject({ by: 'ztunnel', from: other });
        // Their translation comes first or last in both directions, and ours does not undo it.
        expect(await pod.resolve({ server: SERVICE[family], type: record })).toMatchObject({
          by: 'ztunnel',
          from: endpoint(runFirst ? remote[family] : SERVICE[family], 53),
        });
      });

      it('getpeername and getsockname of a socket that is connected to a name server', async () => {
        for (const server of [plain(), SERVICE[family]])
          expect(await pod.resolve({ server, type: record, connected: true })).toMatchObject({
            by: 'ztunnel',
            peername: endpoint(server, 53),
            sockname: endpoint(pod[family], SHOWN_PORT),
          });
      });

      it('getsockopt: their answers and refusals stay, at any length, and ztunnel gets its own', async () => {
        const argv = [process.execPath, ASKER, plain(), String(APPLICATION_PORT)];
        const { cgroup, netns } = pod.app.place;
        const asker = await LineProcess.start(enterCommand({ cgroup, netns }, argv));
        expect(JSON.parse(await asker.nextLine())).toEqual({
          receiveBuffer: [ANSWER, ANSWER, ANSWER, ANSWER, ANSWER],
          noSuchOption: [ANSWER, ANSWER, ANSWER, ANSWER, ANSWER],
          sendBuffer: 'EPERM',
          ecn: true,
        });
        const bind = endpoint(pod[family], SHY_CLIENT_PORT);
        const result = await pod.dial(endpoint(plain(), APPLICATION_PORT), { bind });
        // That they refuse SO_ORIGINAL_DST nobody sees who runs after them, because the kernel has no answer anyway.
        const from = family === 'ip4' ? 'SOL_IP' : 'SOL_IPV6';
        expect(result.hops[0]).toMatchObject({ by: 'ztunnel', originalDstFrom: runFirst ? from : 'local' });
      });

      it('sockops: their callbacks come, and ours', async () => {
        const before = foreign.seen('round-trip');
        expect((await pod.dial(endpoint(plain(), APPLICATION_PORT))).hops).toMatchObject([
          { by: 'ztunnel', originalDst: endpoint(plain(), APPLICATION_PORT) },
          { by: 'remote' },
        ]);
        expect(foreign.seen('round-trip')).toBeGreaterThan(before);
        // That ours has ended the exemption of ztunnel's dial does not end theirs.
        const stream = await world.mesh.node.remote.stream(endpoint(pod[family], ECHO_PORT));
        await stream.progress();
        const early = foreign.seen('round-trip');
        await stream.progress(10);
        expect(foreign.seen('round-trip')).toBeGreaterThan(early);
        await stream.stop();
        // The close of a connection that nobody accepted takes its hand-off away.
        expect(await unserved.dial(endpoint(plain(), APPLICATION_PORT))).toMatchObject({ error: 'ECONNREFUSED' });
        expect(world.mesh.handoffs()).toBe(0);
      });

      it('sk_lookup: what they steer gets there through us, directly from a probe, and past our refusal', async () => {
        const before = foreign.seen('steered');
        const client = world.mesh.node.remote;
        const to = endpoint(pod[family], STEERED_PORT);
        const application = await serveSteered(pod);
        const accepted = { by: 'default/a', port: STEERING_TARGET };
        expect((await client.dial(to)).hops).toMatchObject([{ by: 'ztunnel', port: 15006 }, accepted]);
        expect((await kubelet.dial(to)).hops).toMatchObject([accepted]);
        expect(foreign.seen('steered')).toBeGreaterThanOrEqual(before + 2n);
        await application.stop();
        // The kernel takes a socket that one program selects for more than that another one drops.
        const held = await serveSteered(pending);
        const past = await client.dial(endpoint(pending[family], STEERED_PORT));
        expect(past.hops).toMatchObject([{ by: 'default/pending', port: STEERING_TARGET }]);
        const other = endpoint(pending[family], STEERING_TARGET);
        expect(await client.dial(other)).toMatchObject({ error: 'ECONNREFUSED' });
        await held.stop();
      });

      it('tc on the loopback: the mark has their bits and ours, and the answer finds ztunnel', async () => {
        const before = foreign.seen('accepted-with-both-marks');
        const { hops } = await world.mesh.node.remote.dial(endpoint(pod[family], APPLICATION_PORT));
        expect(hops).toMatchObject([{ by: 'ztunnel', port: 15006 }, { by: 'default/a' }]);
        expect(foreign.seen('accepted-with-both-marks')).toBe(before + 1n);
      });
    });

    it("bind: they see ztunnel's, which we capture; they refuse one, and allow another", async () => {
      expect(foreign.seen('ztunnel-binds')).toBeGreaterThan(0n);
      expect(world.captured(pod, 15006)).toBeDefined();
      await expect(pod.serve([UNBINDABLE_PORT])).rejects.toThrow('Cannot assign requested address');
      expect(await listenUnprivileged(pod, PRIVILEGED_PORT)).toBe('listening');
      expect(await listenUnprivileged(pod, PRIVILEGED_PORT + 1)).toBe('EACCES');
    });
  });
}

/** What comes of listening on a port in a pod as nobody, without capabilities. */
async function listenUnprivileged(pod: Pod, port: number): Promise<string> {
  const program = `
    process.setgid(65534);
    process.setuid(65534);
    const server = require('node:net').createServer();
    const say = (line) => process.stdout.write(line + '\\n', () => process.exit());
    server.on('error', ({ code }) => say(code));
    server.listen(${port}, () => say('listening'));`;
  const { cgroup, netns } = pod.app.place;
  const listening = await LineProcess.start(enterCommand({ cgroup, netns }, [process.execPath, '-e', program]));
  return listening.nextLine();
}
