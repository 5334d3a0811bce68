// What is left of a node when something was taken away: pins, the run directory, whoever reads the agent's log.
import { mkdirSync, readdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openObject, queryCgroup } from '@sluice/libbpf';
import { endpoint, LineProcess, requires, runToEnd } from '@sluice/testbed';
import { describe, expect, it } from 'vitest';
import { eventually, NodeAgent } from './node-agent.js';
import { runProgram, SLUICE } from './program.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
const DATAPATH_OBJECT = fileURLToPath(new URL('../../datapath/dist/sluice.bpf.o', import.meta.url));
const ambient = { 'istio.io/dataplane-mode': 'ambient' };

describe.skipIf(need.skip)(`what is damaged${need.label}`, () => {
  it('pins: status says what is not attached, explain what is missing, and the agent attaches them again', async () => {
    await using host = await NodeAgent.create();
    host.node.kubernetes.setNamespace('shop', ambient);
    await host.node.ztunnel();
    const pod = await host.node.pod({ namespace: 'shop', name: 'cart' });
    const to = endpoint(host.node.remote.ip4, 80);
    await host.agent.start();
    const pins = join(host.bpffs, 'sluice');
    unlinkSync(join(pins, 'links/sluice_connect4'));
    expect(host.status().warnings).toContain(
      'the datapath is in force only in part: sluice_connect4 not attached; restart the agent, which attaches them',
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
    await host.agent.restart();
    expect(host.status()).toMatchObject({ isEnforced: true, agent: 'running' });
    expect((await pod.dial(to)).hops[0]?.by).toBe('ztunnel');
  });

  it('the setting of the kubelet’s cgroup: what is no cgroup of this node is nobody’s', async () => {
    await using host = await NodeAgent.create();
    await host.agent.start();
    for (const cgroup of [host.node.directory, host.node.cgroup.path]) {
      host.configure({ kubelet: { cgroup } });
      await host.agent.restart();
      expect(host.status().state.kubelets).toEqual([]);
      expect(host.status().warnings).toContain(
        `the kubelet's cgroup ${cgroup} is no cgroup below ${host.node.cgroup.path}; correct \`kubelet.cgroup\`, or leave it out to have it found`,
      );
      await host.agent.stop();
    }
  });

  it('the reader of the log: the agent goes on without it', async () => {
    await using host = await NodeAgent.create({ log: { level: 'debug' } });
    const argv = `"${process.execPath}" "${SLUICE}" run --config "${host.configPath}" | head -n 1`;
    const shell = await LineProcess.start(['sh', '-c', argv]);
    await shell.nextLine();
    const isRunning = (): boolean => {
      try {
        return host.status().agent === 'running';
      } catch {
        // It has said something and written nothing yet.
        return false;
      }
    };
    await eventually(isRunning, (known) => known);
    host.node.kubernetes.setNamespace('shop', ambient);
    const pod = await host.node.pod({ namespace: 'shop', name: 'cart' });
    const isIn = (): boolean =>
      host.status().state.workloads.some(({ uid, state }) => uid === pod.uid && state === 'in');
    expect(await eventually(isIn, (known) => known)).toBe(true);
    expect(isRunning()).toBe(true);
    process.kill(host.status().state.agent.pid, 'SIGTERM');
    expect(await shell.exited).toEqual({ code: 0, signal: null });
  });

  it('strays: cleanup also detaches what no pin names', async () => {
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

  it('places: cleanup finds what the agent had pinned elsewhere, and says why it cannot work', async () => {
    await using host = await NodeAgent.create();
    await host.agent.start();
    await host.agent.kill9();
    const elsewhere = join(host.node.directory, 'elsewhere');
    const cleanup = (): ReturnType<typeof runProgram> =>
      runProgram([process.execPath, SLUICE, 'cleanup', '--run-dir', host.runDir, '--bpffs', elsewhere]);
    expect((await cleanup()).stdout).toContain('detached  sluice_connect4');
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
