// Files of the run directory that are read back: what was kept comes back, and the agent puts anything else aside
// and reports it once.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as Effect from 'effect/Effect';
import * as Metric from 'effect/Metric';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { logging, logLevelFile, manifestsFile, stateFile } from '../src/index.js';
import { metrics } from '../src/observe/metrics.js';
import { netnsFile } from '../src/pod-netns/memory.js';
import type { KeptFile } from '../src/run-directory/kept-file.js';

let directory: string;
beforeEach(() => void (directory = mkdtempSync(join(tmpdir(), 'sluice-kept-'))));
afterEach(() => rmSync(directory, { recursive: true }));

/** A complete state, as an agent writes it. */
const WHOLE = {
  'state.json': {
    version: 1,
    writtenAt: '2026-01-01T00:00:00.000Z',
    agent: { version: '0.1.0', pid: 42, startTicks: '7', startedAt: '2026-01-01T00:00:00.000Z' },
    node: {
      name: 'node-1',
      mode: 'inPod',
      inventory: 'the Kubernetes API',
      cgroupRoot: '/sys/fs/cgroup',
      pinDirectory: '/sys/fs/bpf/sluice',
      hostNetns: '/proc/1/ns/net',
      hostNetnsCookie: '1',
      noZtunnel: 'closed',
      pending: 'hold',
      resyncIntervalMs: 30_000,
      sampling: 0,
    },
    ztunnels: {
      ipv4: '10.0.0.9',
      pods: [{ namespace: 'istio-system', name: 'ztunnel-a', ips: ['10.0.0.9'], isReady: true, isActive: true }],
    },
    zds: {
      socket: '/run/ztunnel.sock',
      connections: [{ pid: 43, pod: 'istio-system/ztunnel-a', since: '2026-01-01T00:00:00.000Z', isSynced: true }],
    },
    kubelets: [{ path: '/sys/fs/cgroup/system.slice/kubelet.service', id: '88', level: 2 }],
    workloads: [
      {
        uid: 'u',
        namespace: 'shop',
        name: 'cart',
        ips: ['10.0.0.2'],
        cgroups: [{ path: '/sys/fs/cgroup/kubepods/podu', id: '18446744073709551615' }],
        netnsCookie: '4103',
        role: 'workload',
        state: 'in',
        inbound: 'yes',
        reason: 'in mesh',
        problems: [],
        since: '2026-01-01T00:00:00.000Z',
      },
    ],
    problems: ['odd'],
    lastReconcile: { at: '2026-01-01T00:00:00.000Z', durationMs: 1.5, written: 3, removed: 0, failed: 0 },
    errors: { 'map-full': 1 },
  },
  'netns.json': {
    version: 1,
    netns: [
      {
        cookie: '4103',
        uid: 'u',
        podUid: 'u',
        before: { netnsCookie: '4103', sysctls: { 'net.ipv4.tcp_fwmark_accept': '0' }, keepQdisc: false },
      },
      { cookie: '4104', uid: 'v', podUid: 'v' },
    ],
  },
  'inventory.json': {
    version: 1,
    files: [
      {
        file: '/etc/sluice/inventory/a.yaml',
        pods: [
          {
            uid: 'u',
            name: 'cart',
            namespace: 'shop',
            labels: { app: 'cart' },
            annotations: {},
            isDeleting: false,
            nodeName: 'node-1',
            hostNetwork: false,
            serviceAccount: 'default',
            phase: 'Running',
            ips: ['10.0.0.2'],
            badIps: [],
            isReady: true,
            bornMs: 0,
          },
        ],
        namespaces: [{ name: 'shop', labels: {} }],
      },
    ],
  },
  'log-level': 'debug',
} as const;

type Name = keyof typeof WHOLE;
const textOf = (name: Name): string => (name === 'log-level' ? WHOLE[name] : JSON.stringify(WHOLE[name]));
const FILES: Record<Name, (runDir: string) => KeptFile<unknown>> = {
  'state.json': stateFile,
  'netns.json': netnsFile,
  'inventory.json': manifestsFile,
  'log-level': logLevelFile,
};
const NAMES = ['state.json', 'netns.json', 'inventory.json', 'log-level'] as const;

/** The value with a wrong type deep inside, where a shallow check would not find it. */
const WRONG_TYPES: Record<Name, string> = {
  'state.json': textOf('state.json').replace('"4103"', '4103'),
  'netns.json': textOf('netns.json').replace('false', '"no"'),
  'inventory.json': textOf('inventory.json').replace('"isReady":true', '"isReady":1'),
  'log-level': 'DEBUG',
};

const damages = NAMES.flatMap((name) => {
  const text = textOf(name);
  return [
    [name, 'empty', ''],
    [name, 'half a line', text.slice(0, text.length / 2)],
    [name, 'another version', name === 'log-level' ? '{"version":2}' : text.replace('"version":1', '"version":2')],
    [name, 'wrong types', WRONG_TYPES[name]],
    [name, 'nothing but null', 'null'],
    [name, 'not JSON', '\0\u0001 garbage'],
  ] as const;
});

/** Runs an effect as the agent would, and returns what it logged and counted. */
async function asAgent<A>(effect: Effect.Effect<A>): Promise<{ value: A; lines: string[]; errors: unknown }> {
  const lines: string[] = [];
  const program = Effect.all([effect, metrics.errorCounts]).pipe(
    Effect.provide(logging({ level: 'info', format: 'json' }, (line) => void lines.push(line))),
    Effect.provideService(Metric.MetricRegistry, new Map()),
  );
  const [value, errors] = await Effect.runPromise(program);
  return { value, lines, errors };
}

describe.each(NAMES)('%s', (name) => {
  it('comes back as it was written, only root may read it, and no temporary file stays', async () => {
    const file = FILES[name](directory);
    expect(await asAgent(file.recall)).toEqual({ value: undefined, lines: [], errors: {} });
    writeFileSync(file.path, textOf(name));
    const reading = file.read();
    expect(reading).toEqual({ kind: 'kept', value: WHOLE[name] });
    if (reading.kind !== 'kept') return;
    file.replace(reading.value);
    expect(readFileSync(file.path, 'utf8')).toBe(`${textOf(name)}\n`);
    expect(statSync(file.path).mode & 0o777).toBe(0o600);
    expect(await asAgent(file.recall)).toEqual({ value: WHOLE[name], lines: [], errors: {} });
    expect(readdirSync(directory)).toEqual([name]);
  });
});

describe('what an earlier agent left', () => {
  it.each(damages)(
    '%s, %s: a reader reports it, and the agent puts it aside and reports it once',
    async (name, _what, text) => {
      const file = FILES[name](directory);
      writeFileSync(file.path, text);
      expect(file.read()).toEqual({
        kind: 'unusable',
        why: expect.stringMatching(/^it is not what this version of Sluice writes \(.*Expected .*\)$/),
      });
      expect(readdirSync(directory)).toEqual([name]);

      const { value, lines, errors } = await asAgent(Effect.andThen(file.recall, file.recall));
      expect([value, errors]).toEqual([undefined, { 'damaged-file': 1 }]);
      const [aside = '', ...others] = readdirSync(directory);
      expect(others).toEqual([]);
      expect(aside).toMatch(new RegExp(`^${name}\\.damaged-\\d{4}-.*Z$`));
      expect(readFileSync(join(directory, aside), 'utf8')).toBe(text);
      expect(lines).toEqual([
        expect.stringContaining(`it is kept as ${join(directory, aside)}, and the agent goes on`),
      ]);
      expect(file.traces).toContain(join(directory, aside));
    },
  );

  it('a directory in the place of a file: it is put aside, too', async () => {
    const file = stateFile(directory);
    mkdirSync(file.path);
    const { value, errors } = await asAgent(file.recall);
    expect([value, errors]).toEqual([undefined, { 'damaged-file': 1 }]);
    expect(readdirSync(directory)).toEqual([expect.stringMatching(/^state\.json\.damaged-/)]);
  });

  it('many damaged files: the newest three are kept', async () => {
    const file = netnsFile(directory);
    for (const year of [2020, 2021, 2022, 2023]) mkdirSync(`${file.path}.damaged-${year}-01-01T00:00:00.000Z`);
    writeFileSync(file.path, '');
    await asAgent(file.recall);
    expect(readdirSync(directory)).toEqual([
      expect.stringContaining('-2022-'),
      expect.stringContaining('-2023-'),
      expect.stringMatching(/-20(?!2[0-3])/),
    ]);
  });

  it('a file that cannot be put aside: it is reported, and does not stop the agent', async () => {
    const file = netnsFile(join(directory, 'gone'));
    const { lines, errors } = await asAgent(file.putAside('so'));
    expect(errors).toEqual({ 'damaged-file': 1 });
    expect(lines).toEqual([expect.stringMatching(/cannot be put aside \(ENOENT/)]);
  });
});
