// The demo as its users run it: every row is right and nothing is left behind, whichever way it ends.
import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { linkIds, linkInfo, programInfo } from '@sluice/libbpf';
import { LineProcess, cgroup2Root, requires, runToEnd } from '@sluice/testbed';
import { describe, expect, it } from 'vitest';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
const DEMO = [process.execPath, fileURLToPath(new URL('../dist/main.js', import.meta.url))];

/** What only an API server can show. */
const KUBERNETES_ROWS = [
  'ambient.istio.io/redirection of shop/cart: enabled',
  'ambient.istio.io/redirection of press/blog: absent',
  'ambient.istio.io/redirection of press/blog: enabled',
  'ambient.istio.io/redirection of shop/early: pending',
  'server away: meshed pod',
  'server back: the label counts',
];

interface ShownRow {
  what: string;
  ok: boolean;
}

/** Everything that has the name of a demo with this pid: cgroups, mounts, processes below them. */
function leftovers(pid: number): string[] {
  const name = `sluice-${pid}-`;
  const cgroups = readdirSync(cgroup2Root()).filter((entry) => entry.startsWith(name));
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(`/${name}`));
  const files = readdirSync('/tmp').filter((entry) => entry.startsWith(name));
  return [...cgroups, ...mounts, ...files];
}

/** Links of ours on a cgroup that is gone: held by a pin or a process that outlived its demo. */
function orphanLinks(): number[] {
  return linkIds().filter((id) => {
    try {
      const { type, cgroupId, programId } = linkInfo(id);
      return type === 'cgroup' && cgroupId === 0n && programInfo(programId).name.startsWith('sluice_');
    } catch {
      return false; // gone meanwhile
    }
  });
}

describe.skipIf(need.skip)(`npm run demo${need.label}`, () => {
  it.each([
    ['inPod', 'static', []],
    ['node', 'static', []],
    ['inPod', 'kubernetes', KUBERNETES_ROWS],
    ['node', 'kubernetes', KUBERNETES_ROWS.filter((what) => !what.startsWith('ambient.istio.io/'))],
  ])('shows every row as it should be, and leaves nothing behind, in %s mode from %s', async (mode, source, more) => {
    const demo = await LineProcess.start([...DEMO, '--mode', mode, '--source', source, '-o', 'json']);
    const { code } = await demo.exited;
    const rows = demo.history.map((line) => JSON.parse(line) as ShownRow);
    expect(rows.filter(({ ok }) => !ok)).toEqual([]);
    expect(rows.length).toBeGreaterThan(25);
    const shown = rows.map(({ what }) => what);
    expect(shown).toEqual(expect.arrayContaining(['agent killed: redirection goes on', ...more]));
    expect([code, demo.stderr]).toEqual([0, '']);
    expect(leftovers(demo.pid)).toEqual([]);
    // Links of another test that is just ending go with it.
    await expect.poll(orphanLinks).toEqual([]);
  });

  it.each(['SIGINT', 'SIGTERM'] as const)('leaves nothing behind when it is interrupted by %s', async (signal) => {
    const demo = await LineProcess.start([...DEMO, '-o', 'json']);
    await demo.nextLine();
    expect(leftovers(demo.pid)).not.toEqual([]);
    demo.signal(signal);
    await demo.exited;
    expect(leftovers(demo.pid)).toEqual([]);
  });

  it('is removed by the next one when it was killed', async () => {
    const killed = await LineProcess.start([...DEMO, '-o', 'json']);
    await killed.nextLine();
    killed.signal('SIGKILL');
    await killed.exited;
    expect(await runToEnd([...DEMO, '--core', '-o', 'json'])).not.toEqual([]);
    expect(leftovers(killed.pid)).toEqual([]);
  });

  it.each([
    [['--mode', 'sidecar'], /--mode sidecar is not a mode; use inPod or node/],
    [['--source', 'etcd'], /--source etcd is not a source; use static or kubernetes/],
    [['-o', 'xml'], /-o xml is not a form of output; use table or json/],
    [['--colour'], /Unknown option '--colour'/],
  ])('says what is wrong with %j', async (args, message) => {
    const demo = await LineProcess.start([...DEMO, ...args]);
    expect(await demo.exited).toEqual({ code: 2, signal: null });
    expect(demo.stderr).toMatch(message);
    expect(demo.stderr).toContain('usage: npm run demo');
  });
});
