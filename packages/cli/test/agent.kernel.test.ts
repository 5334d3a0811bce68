// The whole agent on a real kernel: the built command, a node made of namespaces, real connections.
import { mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { InstalledDatapath } from '@sluice/datapath';
import { attachCgroupExclusively, openObject } from '@sluice/libbpf';
import { endpoint, LineProcess, requires, type DialResult, type Pod } from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, NodeAgent } from './node-agent.js';
import { runProgram, SLUICE } from './program.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
const ambient = { 'istio.io/dataplane-mode': 'ambient' };

const isDefined = (value: unknown): boolean => value !== undefined;
const wayOf = (result: DialResult): string => (result.ok ? result.hops.map(({ by }) => by).join(' > ') : result.error);

describe.skipIf(need.skip)(`the agent${need.label}`, () => {
  let host: NodeAgent;
  let shop: Pod;
  beforeAll(async () => {
    host = await NodeAgent.create({ sampling: 1, metrics: { listen: '127.0.0.1:0' } });
    const { node } = host;
    node.kubernetes.setNamespace('shop', ambient);
    node.kubernetes.setNamespace('plain', {});
    await node.ztunnel();
    shop = await node.pod({ namespace: 'shop', name: 'cart', serve: [8080] });
    await host.agent.start();
  });
  afterAll(() => host?.node.close());

  const direct = (): string => endpoint(host.node.remote.ip4, 80);
  const way = async (from: Pick<Pod, 'dial'>, to: string): Promise<string> => wayOf(await from.dial(to));
  const mapInfo = (): { cgroups: bigint[]; localPods: string[]; netns: bigint[] } => {
    using installed = InstalledDatapath.open(join(host.bpffs, 'sluice'));
    const { cgroups, localPods, netns } = installed.read();
    return { cgroups: [...cgroups.keys()], localPods: [...localPods.keys()], netns: [...netns.keys()] };
  };

  it('redirects a pod of a labelled namespace, v4 and v6, and ztunnel reads the original destination', async () => {
    for (const to of [direct(), endpoint(host.node.remote.ip6, 80)]) {
      const result = await shop.dial(to);
      expect(wayOf(result)).toBe('ztunnel > remote');
      expect(result.hops[0]).toMatchObject({ port: 15001, originalDst: to });
      expect(result.peername).toBe(to);
    }
  });

  it('sends a host process to ztunnel’s inbound port, and the kubelet to the pod', async () => {
    const process = await host.node.hostProcess();
    const kubelet = await host.node.kubelet();
    const to = endpoint(shop.ip4, 8080);
    await expect.poll(() => way(kubelet, to)).toBe('shop/cart');
    const result = await process.dial(to);
    expect([wayOf(result), result.hops[0]?.port, result.hops[0]?.originalDst]).toEqual([
      'ztunnel > shop/cart',
      15006,
      to,
    ]);
  });

  it('enrols a pod that starts while the agent runs, and a container of it at once', async () => {
    const late = await host.node.pod({ namespace: 'shop', name: 'late' });
    await expect.poll(() => way(late, direct())).toBe('ztunnel > remote');
    const more = await late.startContainer('sidecar');
    expect(wayOf(await more.dial(direct()))).toBe('ztunnel > remote');
    await late.delete();
  });

  it('follows a label that is set and removed while the pod runs', async () => {
    const pod = await host.node.pod({ namespace: 'plain', name: 'switch' });
    expect(wayOf(await pod.dial(direct()))).toBe('remote');
    host.node.kubernetes.setNamespace('plain', ambient);
    await expect.poll(() => way(pod, direct())).toBe('ztunnel > remote');
    pod.update({ labels: { 'istio.io/dataplane-mode': 'none' } });
    await expect.poll(() => way(pod, direct())).toBe('remote');
    pod.update({ labels: {} });
    await expect.poll(() => way(pod, direct())).toBe('ztunnel > remote');
    host.node.kubernetes.setNamespace('plain', {});
    await expect.poll(() => way(pod, direct())).toBe('remote');
    await pod.delete();
  });

  it('leaves no entry of a deleted pod', async () => {
    const pod = await host.node.pod({ namespace: 'shop', name: 'brief' });
    const ids = [pod.cgroup.path, ...pod.containers.map(({ place }) => place.cgroup)].map(
      (path) => statSync(path, { bigint: true }).ino,
    );
    const its = (): { cgroups: bigint[]; localPods: string[] } => {
      const { cgroups, localPods } = mapInfo();
      return {
        cgroups: ids.filter((id) => cgroups.includes(id)),
        localPods: pod.ips.filter((ip) => localPods.includes(ip)),
      };
    };
    await expect.poll(its).toEqual({ cgroups: ids, localPods: pod.ips });
    await pod.delete();
    await expect.poll(its).toEqual({ cgroups: [], localPods: [] });
  });

  it('keeps the last good version of a manifest that became malformed, and reports it', async () => {
    const { node } = host;
    node.kubernetes.writeText('namespace.shop.yaml', 'kind: Namespace\nmetadata:\n  name: [shop]\n');
    const warning = (): string | undefined =>
      host.status().warnings.find((text) => text.includes('namespace.shop.yaml'));
    await expect
      .poll(warning)
      .toMatch(
        /document 1, line 3 at metadata.name: .*; correct the field; until then the objects last read from this file stay in force/,
      );
    expect(wayOf(await shop.dial(direct()))).toBe('ztunnel > remote');
    node.kubernetes.setNamespace('shop', ambient);
    await expect.poll(warning).toBeUndefined();
  });

  it('shows every workload with its reason, and explains connections by what the kernel enforces', async () => {
    const outside = await host.node.pod({ namespace: 'plain', name: 'outside' });
    await expect
      .poll(() => host.workload('outside')?.reason)
      .toBe('out: no label istio.io/dataplane-mode=ambient on the pod or its namespace');
    await expect
      .poll(() => host.workload('cart'))
      .toMatchObject({
        state: 'in',
        reason: 'in mesh: namespace label istio.io/dataplane-mode=ambient',
        ips: shop.ips,
        problems: [],
      });
    expect(host.workload('ztunnel')).toMatchObject({ role: 'ztunnel', state: 'out' });
    expect(host.status()).toMatchObject({ agent: 'running', isEnforced: true });
    const json = await host.sluice('status', '-o', 'json');
    expect(JSON.parse(json.stdout)).toMatchObject({ agent: 'running', state: { node: { name: host.node.name } } });
    const table = await host.sluice('status');
    expect([table.code, table.stdout]).toEqual([0, expect.stringContaining('shop/cart')]);

    const to = endpoint(host.node.remote.ip4, 80);
    expect(await host.explain('--pod', 'shop/cart', '--to', to)).toMatchObject({
      verdict: 'redirect',
      decidedBy: 'redirect',
      target: { port: 15001 },
    });
    expect(await host.explain('--pod', 'plain/outside', '--to', to)).toMatchObject({
      verdict: 'pass',
      decidedBy: 'not-in-mesh',
    });
    expect(await host.explain('--from-host', '--to', endpoint(shop.ip6, 8080))).toMatchObject({
      verdict: 'to-mesh',
      target: { port: 15006 },
    });
    expect(await host.explain('--from-kubelet', '--to', endpoint(shop.ip4, 8080))).toMatchObject({
      verdict: 'pass',
      decidedBy: 'probe',
    });
    await outside.delete();
  });

  it('shows processes of pods and the datapath’s decisions', async () => {
    const watch = await LineProcess.start([
      process.execPath,
      SLUICE,
      'watch',
      '--decisions',
      '-o',
      'json',
      '--config',
      host.configPath,
    ]);
    const records = (): Record<string, unknown>[] =>
      watch.history.map((line) => JSON.parse(line) as Record<string, unknown>);
    const [ip, port] = [host.node.remote.ip4, 443];
    const cart = { kind: 'process', where: 'pod', pod: 'shop/cart', containerId: shop.app.id, state: 'in' };
    // The command sees nothing until it has subscribed, so processes are started until it shows one. A busy machine shows an
    // exec late, so none of them may end before.
    const started: LineProcess[] = [];
    const execOfOurs = (): Record<string, unknown> | undefined =>
      records().find(
        ({ event, where, pid }) => event === 'exec' && where === 'pod' && started.some((one) => one.pid === pid),
      );
    const exec = await eventually(async () => {
      started.push(await shop.app.exec(['dial', '--stdin']));
      return execOfOurs();
    }, isDefined);
    expect(exec).toMatchObject(cart);
    for (const one of started) await one.stop();
    const exit = await eventually(
      () => records().find((it) => it['event'] === 'exit' && it['pid'] === exec?.['pid']),
      isDefined,
    );
    expect(exit).toMatchObject(cart);

    const wanted = JSON.stringify({ ip, port });
    const decision = await eventually(async () => {
      await shop.dial(endpoint(ip, port));
      return records().find(
        (it) => it['kind'] === 'decision' && it['pod'] === 'shop/cart' && JSON.stringify(it['destination']) === wanted,
      );
    }, isDefined);
    expect(decision).toMatchObject({ verdict: 'redirect', reason: 'redirect' });
    expect(await watch.stop()).toEqual({ code: 0, signal: null });
  });

  it('serves its metrics', async () => {
    for (const line of [
      /^sluice_decisions\{[^}]*reason="redirect"[^}]*\} [1-9]/m,
      /^sluice_workloads\{[^}]*state="in"[^}]*\} [1-9]/m,
      /^sluice_hints_total\{[^}]*kind="pod-start"[^}]*\} [1-9]/m,
      /^sluice_process_events\{[^}]*outcome="messages"[^}]*\} [1-9]/m,
      /^sluice_reconciles_total(\{[^}]*\})? [1-9]/m,
    ])
      await expect.poll(async () => (await host.get('/metrics')).body).toMatch(line);
  });

  it('refuses a second agent, and cleanup while an agent runs', async () => {
    const second = await host.sluice('run');
    expect([second.code, second.stderr]).toEqual([
      1,
      expect.stringMatching(/^sluice: another agent is running: it holds .*lock; stop it first/),
    ]);
    const cleanup = await host.sluice('cleanup');
    expect([cleanup.code, cleanup.stderr]).toEqual([1, expect.stringMatching(/an agent is running .* use --force/)]);
  });

  it('refuses no connection and lets none pass while it is killed under load, and adopts the maps when it restarts', async () => {
    const load = await shop.load([direct(), endpoint(host.node.remote.ip6, 80)]);
    const since = host.workload('cart')?.since;
    await host.agent.kill9();
    await load.progress(2);
    const dead = await host.sluice('status');
    expect([dead.code, dead.stdout]).toEqual([
      3,
      expect.stringContaining('warning: agent not running; datapath still enforced; as of'),
    ]);
    await host.agent.start();
    expect(host.agent.process.history.find((line) => line.includes('"msg":"ready"'))).toContain('"adopted":true');
    await load.progress(2);
    const summary = await load.stop();
    expect(summary).toMatchObject({ refused: 0, direct: 0, errors: 0 });
    expect(summary.redirected).toBe(summary.attempts);
    expect(host.workload('cart')?.since).toBe(since);
  });

  it('ends on SIGTERM with 0 and leaves the datapath in force, and cleanup leaves nothing', async () => {
    expect(await host.agent.stop()).toEqual({ code: 0, signal: null });
    expect(wayOf(await shop.dial(direct()))).toBe('ztunnel > remote');
    const first = await host.sluice('cleanup', '-o', 'json');
    expect(first.code).toBe(0);
    const { detached } = JSON.parse(first.stdout) as { detached: string[] };
    expect(detached).toContain(`sluice_connect4-${host.node.cgroup.id}`);
    expect(wayOf(await shop.dial(direct()))).toBe('remote');
    // maps.debug and progs.debug belong to the kernel.
    expect(readdirSync(host.bpffs)).not.toContain('sluice');
    expect(readdirSync(host.node.directory)).not.toContain('run');
    const second = await host.sluice('cleanup');
    expect([second.code, second.stdout.trim()]).toEqual([0, 'nothing of Sluice is on this node']);
  });
});

describe.skipIf(need.skip)(`an agent that cannot do everything${need.label}`, () => {
  it('holds the pod for which a map has no room, says why, and does the rest', async () => {
    await using host = await NodeAgent.create({ capacities: { localPods: 2 } });
    host.node.kubernetes.setNamespace('shop', ambient);
    await host.node.ztunnel();
    const pods = [
      await host.node.pod({ namespace: 'shop', name: 'a' }),
      await host.node.pod({ namespace: 'shop', name: 'b' }),
    ];
    await host.agent.start();
    await host.becomes('a', 'in');
    expect((await host.becomes('b', 'pending'))?.reason).toMatch(
      /^pending: there is no room for it: it needs 2 of capacities.localPods, and 2 of 2 are taken/,
    );
    const ways = await Promise.all(pods.map(async (pod) => wayOf(await pod.dial(endpoint(host.node.remote.ip4, 80)))));
    expect(ways).toEqual(['ztunnel > remote', 'ECONNREFUSED']);
    await host.agent.stop();
  });

  it('refuses to start when a path is unusable, and says what to do', async () => {
    await using host = await NodeAgent.create();
    const directory = join(host.node.directory, 'plain');
    mkdirSync(directory);
    writeFileSync(join(directory, 'file'), '');
    const withPaths = async (more: Record<string, unknown>): Promise<string> => {
      const paths = {
        bpffs: host.bpffs,
        runDir: host.runDir,
        cgroupRoot: host.node.cgroup.path,
        hostNetns: host.node.netns.path,
      };
      host.configure({ paths: { ...paths, ...more } });
      const { code, stderr } = await host.sluice('run');
      expect(code).toBe(1);
      return stderr;
    };
    expect(await withPaths({ bpffs: directory })).toBe(
      `sluice: ${directory} is not a BPF file system, but the datapath has to be pinned there to outlive the agent; mount one: mount -t bpf bpf ${directory}\n`,
    );
    expect(await withPaths({ cgroupRoot: directory })).toMatch(
      /is not on a cgroup2 file system; name a directory of the cgroup2 tree/,
    );
    expect(await withPaths({ hostNetns: join(directory, 'absent') })).toMatch(
      /network namespace .*absent is not there/,
    );
    const proc = join(directory, 'proc');
    mkdirSync(join(proc, 'self'), { recursive: true });
    writeFileSync(join(proc, 'self/mountinfo'), '25 1 0:23 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n');
    expect(await withPaths({ proc, cgroupRoot: undefined })).toMatch(
      /shows no cgroup2 file system, only cgroup v1 controllers; boot with/,
    );
    host.configure({ inventory: { directory: join(directory, 'absent') } });
    expect((await host.sluice('run')).stderr).toMatch(
      /the inventory directory .*absent does not exist; make it, or name another/,
    );
  });

  it('says that it needs root, and the host’s network namespace', async () => {
    await using host = await NodeAgent.create();
    const run = [process.execPath, SLUICE, 'run', '--config', host.configPath];
    // Only root can read the configuration, so the defaults are used.
    const nobody = await runProgram([
      'setpriv',
      '--reuid=65534',
      '--regid=65534',
      '--clear-groups',
      // The checkout may be in a directory that only root can enter.
      '--inh-caps=-all,+dac_read_search',
      '--ambient-caps=-all,+dac_read_search',
      process.execPath,
      SLUICE,
      'run',
    ]);
    expect([nobody.code, nobody.stderr]).toEqual([
      1,
      'sluice: this process runs as user 65534, and loading BPF programs and watching processes needs root; start it as root (sudo sluice ..., or runAsUser: 0 in Kubernetes)\n',
    ]);
    const elsewhere = await runProgram(['unshare', '--net', ...run]);
    expect([elsewhere.code, elsewhere.stderr]).toEqual([
      1,
      expect.stringMatching(/only in the initial network namespace; run with the network namespace of the host/),
    ]);
    const left = await host.sluice('cleanup', '-o', 'json');
    expect((JSON.parse(left.stdout) as { detached: string[] }).detached).toEqual([]);
  });

  it('names the foreign program that does not share the cgroup', async () => {
    await using host = await NodeAgent.create();
    using foreign = openObject(fileURLToPath(new URL('../../datapath/dist/sluice.bpf.o', import.meta.url)));
    foreign.load();
    const program = foreign.program('sluice_connect4');
    attachCgroupExclusively(program, host.node.cgroup.path);
    const { code, stderr } = await host.sluice('run');
    expect([code, stderr]).toEqual([1, expect.stringMatching(/^sluice: sluice_connect4 could not be attached to /)]);
    expect(stderr).toContain(`id ${program.id}, tag`);
    expect((await host.sluice('cleanup')).stdout).toContain('detached  sluice_getsockopt-');
  });
});
