// What works on a node when something was removed: pins, the run directory, the reader of the agent's log.
import { mkdirSync, readdirSync, truncateSync, unlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openObject, queryCgroup } from '@sluice/libbpf';
import { endpoint, LineProcess, requires, runToEnd, type Pod } from '@sluice/testbed';
import { describe, expect, it } from 'vitest';
import { netnsPins, plumbingOf } from './in-pod-traces.js';
import { NodeAgent } from './node-agent.js';
import { SLUICE, type CommandResult } from './program.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
const DATAPATH_OBJECT = fileURLToPath(new URL('../../datapath/dist/sluice.bpf.o', import.meta.url));
const ambient = { 'istio.io/dataplane-mode': 'ambient' };

describe.skipIf(need.skip)(`what is damaged${need.label}`, () => {
  it('pins: status says what is not attached, explain says what is missing, and the agent attaches them again', async () => {
    await using host = await NodeAgent.create();
    host.node.kubernetes.setNamespace('shop', ambient);
    await host.node.ztunnel();
    const pod = await host.node.pod({ namespace: 'shop', name: 'cart' });
    const to = endpoint(host.node.remote.ip4, 80);
    await host.agent.start();
    const pins = join(host.bpffs, 'sluice');
    const { id, path } = host.node.cgroup;
    // It would put back at once what this test takes away.
    host.agent.process.signal('SIGSTOP');
    unlinkSync(join(pins, `links/sluice_connect4-${id}`));
    expect(host.status().warnings).toContain(
      `the datapath is in force only in part: not attached: sluice_connect4 at ${path}; the agent’s next pass attaches them`,
    );
    for (const name of readdirSync(join(pins, 'links'))) unlinkSync(join(pins, 'links', name));
    expect(host.status()).toMatchObject({ isEnforced: false, agent: 'running' });
    expect((await host.sluice('status')).stdout).toMatch(/^warning: no datapath is in force although an agent runs/);
    unlinkSync(join(pins, 'maps/config'));
    mkdirSync(join(pins, 'maps/config'));
    const explained = await host.sluice('explain', '--pod', 'shop/cart', '--to', to);
    expect([explained.code, explained.stderr]).toEqual([
      1,
      `sluice: no datapath is pinned at ${pins} (the map config is missing). Start the agent: sluice run\n`,
    ]);
    host.agent.process.signal('SIGCONT');
    await host.agent.restart();
    expect(host.status()).toMatchObject({ isEnforced: true, agent: 'running' });
    expect((await pod.dial(to)).hops[0]?.by).toBe('ztunnel');
  });

  it('the setting of the kubelet’s cgroup: a directory that is no cgroup of this node has no kubelet', async () => {
    await using host = await NodeAgent.create();
    await host.agent.start();
    for (const cgroup of [host.node.directory, host.node.cgroup.path]) {
      host.configure({ kubelet: { cgroup } });
      await host.agent.restart();
      expect(host.status().state.kubelets).toEqual([]);
      expect(host.status().warnings).toContain(
        `the kubelet's cgroup ${cgroup} is not a cgroup below ${host.node.cgroup.path}; correct \`kubelet.cgroup\`, or leave it out, and the agent searches for it`,
      );
      await host.agent.stop();
    }
  });

  it('the reader of the log: the agent goes on without it', async () => {
    await using host = await NodeAgent.create({ log: { level: 'debug' } });
    const argv = `"${process.execPath}" "${SLUICE}" run --config "${host.configPath}" | head -n 1`;
    const shell = await LineProcess.start(['sh', '-c', argv]);
    await shell.nextLine();
    // The agent has logged a line, but may not have written its state yet.
    await expect.poll(() => host.status().agent).toBe('running');
    host.node.kubernetes.setNamespace('shop', ambient);
    const pod = await host.node.pod({ namespace: 'shop', name: 'cart' });
    await expect.poll(() => host.workload('cart')).toMatchObject({ uid: pod.uid, state: 'in' });
    expect(host.status().agent).toBe('running');
    process.kill(host.status().state.agent.pid, 'SIGTERM');
    expect(await shell.exited).toEqual({ code: 0, signal: null });
  });

  describe('half of each file about pods in the mesh', () => {
    const outside = ({ node }: NodeAgent): string => endpoint(node.remote.ip4, 80);
    /** A pod in the mesh, whose agent was killed, and what was in its network namespace before. */
    async function served(host: NodeAgent): Promise<{ pod: Pod; bare: string[] }> {
      host.node.kubernetes.setNamespace('shop', ambient);
      await host.node.ztunnel({ mode: 'inPod', zdsSocket: host.zdsSocket });
      const pod = await host.node.pod({ namespace: 'shop', name: 'cart' });
      const bare = await plumbingOf(pod);
      await host.agent.start();
      await host.becomes('cart', 'in');
      return { pod, bare };
    }
    function halve(host: NodeAgent, ...names: string[]): void {
      for (const path of names.map((name) => join(host.runDir, name)))
        truncateSync(path, Math.floor(statSync(path).size / 2));
    }

    it('restores the network namespace of a pod that left meanwhile', async () => {
      await using host = await NodeAgent.createInPod();
      const { pod, bare } = await served(host);
      await host.agent.kill9();
      halve(host, 'netns.json');
      host.node.kubernetes.setNamespace('shop', {});
      await host.agent.start();
      await host.becomes('cart', 'out');
      await expect.poll(() => plumbingOf(pod)).toEqual(bare);
      expect(netnsPins(host.bpffs)).toEqual([]);
      const aside = readdirSync(host.runDir).filter((name) => name.startsWith('netns.json.damaged-'));
      expect(aside).toHaveLength(1);
      expect(host.status().state.errors['damaged-file']).toBe(1);
      const said = host.agent.process.history.filter((line) => line.includes('netns.json.damaged-'));
      expect(said).toHaveLength(1);
      expect(said[0]).toContain('Expected a valid JSON string');
    });

    it('refuses nothing to a pod that stays, and restores its network namespace when it leaves', async () => {
      await using host = await NodeAgent.createInPod();
      const { pod, bare } = await served(host);
      const load = await pod.load([outside(host)]);
      await host.agent.kill9();
      halve(host, 'netns.json', 'state.json', 'inventory.json');
      const before = readdirSync(host.runDir);
      const status = await host.sluice('status');
      expect([status.code, status.stderr]).toEqual([
        3,
        expect.stringMatching(/state\.json cannot be used: it is not what/),
      ]);
      const level = await host.sluice('log-level');
      expect([level.code, level.stderr]).toEqual([
        3,
        expect.stringContaining('(its state cannot be used: it is not what'),
      ]);
      expect(readdirSync(host.runDir)).toEqual(before);
      await host.agent.start();
      // This holds at once, before ztunnel has connected again.
      expect(host.workload('cart')).toMatchObject({ state: 'in' });
      expect(host.status().state.errors['damaged-file']).toBe(3);
      await load.progress(1);
      expect(await load.stop()).toMatchObject({ refused: 0, direct: 0, errors: 0 });
      await host.agent.restart();
      expect(host.status().state.errors['damaged-file']).toBeUndefined();
      host.node.kubernetes.setNamespace('shop', {});
      await host.becomes('cart', 'out');
      await expect.poll(() => plumbingOf(pod)).toEqual(bare);
      await host.agent.stop();
      const { stdout } = await host.sluice('cleanup', '-o', 'json');
      expect(stdout).toContain('netns.json.damaged-');
      expect(readdirSync(host.node.directory)).not.toContain('run');
    });
  });

  it('strays: cleanup also detaches programs that no pin names', async () => {
    await using host = await NodeAgent.create();
    using object = openObject(DATAPATH_OBJECT);
    object.load();
    using link = object.program('sluice_connect4').attachCgroup(host.node.cgroup.path);
    expect(link.info().cgroupId).toBe(host.node.cgroup.id);
    const { code, stdout } = await host.sluice('cleanup', '-o', 'json');
    expect([code, JSON.parse(stdout)]).toEqual([
      0,
      { withdrawn: [], detached: ['sluice_connect4'], unpinned: [], restored: [], files: [], problems: [] },
    ]);
    expect(queryCgroup(host.node.cgroup.path, 'cgroup_inet4_connect').programs).toEqual([]);
  });

  it('paths: cleanup finds what the agent had pinned elsewhere, and says why it cannot work', async () => {
    await using host = await NodeAgent.create();
    await host.agent.start();
    await host.agent.kill9();
    const elsewhere = join(host.node.directory, 'elsewhere');
    // Without the cgroup it would look for namespaces to restore in the pods of every node on this machine.
    const [cgroupRoot, hostNetns] = [host.node.cgroup.path, host.node.netns.path];
    host.configure({ paths: { bpffs: elsewhere, runDir: host.runDir, cgroupRoot, hostNetns } });
    const cleanup = (): Promise<CommandResult> => host.sluice('cleanup');
    expect((await cleanup()).stdout).toContain('detached  sluice_connect4-');
    expect(readdirSync(host.bpffs)).not.toContain('sluice');
    mkdirSync(join(host.runDir, 'state.json'), { recursive: true });
    expect([(await cleanup()).code, readdirSync(host.node.directory).includes('run')]).toEqual([0, false]);

    mkdirSync(host.runDir);
    await runToEnd(['mount', '-t', 'tmpfs', '-o', 'ro', 'tmpfs', host.runDir]);
    try {
      const message = `sluice: the run directory ${host.runDir} cannot be used: its file system is read-only (EROFS); name another with \`paths.runDir\`\n`;
      for (const { code, stderr } of [await cleanup(), await host.sluice('run')])
        expect([code, stderr]).toEqual([1, message]);
    } finally {
      await runToEnd(['umount', host.runDir]);
    }
  });
});
