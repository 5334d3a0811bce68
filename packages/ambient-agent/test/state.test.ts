// What the agent writes for others to read: the state file, the log, the metrics.
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as Effect from 'effect/Effect';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  dateStatuses,
  logging,
  ManifestDirectory,
  ManifestMemory,
  manifestsFile,
  readNodeStatus,
  readState,
  Readiness,
  serveMetrics,
  stateFile,
  type AgentState,
  type Capture,
  type PassResult,
  type WorkloadStatus,
} from '../src/index.js';
import { StateKeeper } from '../src/state/keeper.js';
import { nothingDone } from './nothing-done.js';
import { config, enrolWorld, pod, workload } from './world.js';

let directory: string;
beforeEach(() => void (directory = mkdtempSync(join(tmpdir(), 'sluice-state-'))));
afterEach(() => rmSync(directory, { recursive: true }));

const state = (over: Partial<AgentState> = {}): AgentState => ({
  version: 1,
  writtenAt: '2026-01-01T00:00:00.000Z',
  agent: { version: '0.1.0', pid: process.pid, startTicks: 'another', startedAt: '2026-01-01T00:00:00.000Z' },
  node: {
    name: 'node-1',
    mode: 'node',
    inventory: '/i',
    cgroupRoot: '/cg',
    pinDirectory: join(directory, 'pins'),
    hostNetns: '/proc/1/ns/net',
    hostNetnsCookie: '1',
    noZtunnel: 'closed',
    pending: 'hold',
    resyncIntervalMs: 30_000,
    sampling: 0,
  },
  ztunnels: { ipv4: '10.0.0.9', ipv6: undefined, pods: [] },
  kubelets: [],
  workloads: [],
  problems: [],
  lastReconcile: undefined,
  errors: {},
  ...over,
});

describe('the state file', () => {
  it('comes back as it was written, only root may read it, and no temporary file stays', () => {
    stateFile(directory).replace(state({ problems: ['a'] }));
    stateFile(directory).replace(state({ problems: ['b'] }));
    expect(readState(directory)).toMatchObject({ kind: 'state', isRunning: false, state: { problems: ['b'] } });
    expect(statSync(stateFile(directory).path).mode & 0o777).toBe(0o600);
    expect(readdirSync(directory)).toEqual(['state.json']);
  });

  it('of an agent that is gone is shown as such, with what is enforced without it', () => {
    stateFile(directory).replace(state());
    const status = readNodeStatus(directory);
    expect(status).toMatchObject({ agent: 'not-running', isEnforced: false });
    expect(status.warnings).toEqual(['agent not running; no datapath in force; as of 2026-01-01T00:00:00.000Z']);
  });

  it('says that nothing waits for ztunnel once its agent is gone', () => {
    const zds = { socket: '/z', connections: [] };
    stateFile(directory).replace(state({ zds }));
    expect(readNodeStatus(directory).warnings.slice(1)).toEqual([
      'no ztunnel is connected at /z: new connections of pods that it has not acknowledged are refused; those of pods in the mesh use a ztunnel that still listens, or are refused',
    ]);
  });

  it('has warnings if no ztunnel is known, and for each pod with a problem', () => {
    const { statuses } = enrolWorld({ pods: [pod('a', { badIps: ['x'] })] });
    const workloads = dateStatuses(statuses, [], new Date(0)).map((status) => ({ ...status, problems: ['odd'] }));
    stateFile(directory).replace(state({ ztunnels: { ipv4: undefined, ipv6: undefined, pods: [] }, workloads }));
    expect(readNodeStatus(directory).warnings.slice(1)).toEqual([
      'no ztunnel is known on this node: connections of pods in the mesh are refused',
      'pod shop/a: odd',
    ]);
  });

  it('has a warning if ztunnel lacks an address of a family that pods in the mesh have', () => {
    const { statuses } = enrolWorld({
      pods: [pod('a', { ips: ['10.0.0.2', 'fd00::2'] })],
      workloads: [workload('a', 100n, 7n)],
    });
    const workloads = dateStatuses(statuses, [], new Date(0));
    expect(workloads[0]?.state).toBe('in');
    stateFile(directory).replace(state({ workloads }));
    const warning = 'ztunnel has no IPv6 address on this node: IPv6 connections of pods in the mesh are refused';
    expect(readNodeStatus(directory).warnings.slice(1)).toEqual([warning]);
    stateFile(directory).replace(state({ ztunnels: { ipv4: '10.0.0.9', ipv6: 'fd00::9', pods: [] }, workloads }));
    expect(readNodeStatus(directory).warnings.slice(1)).toEqual([]);
  });

  it('of an earlier version is read with pending for waiting', () => {
    const workloads = dateStatuses(enrolWorld({ pods: [pod('a')] }).statuses, [], new Date(0));
    stateFile(directory).replace(state({ workloads }));
    const { path } = stateFile(directory);
    writeFileSync(path, readFileSync(path, 'utf8').replace('"state":"pending"', '"state":"waiting"'));
    expect(readFileSync(path, 'utf8')).toContain('"state":"waiting"');
    expect(readState(directory)).toMatchObject({ kind: 'state', state: { workloads: [{ state: 'pending' }] } });
  });

  it('that is absent, damaged or of another version is reported', () => {
    expect(() => readNodeStatus(directory)).toThrow(
      /no agent has run here: there is no .*state.json; start one with `sluice run`/,
    );
    writeFileSync(stateFile(directory).path, '{"version":99}');
    expect(readState(directory)).toEqual({
      kind: 'unusable',
      why: 'it is not what this version of Sluice writes (version: Expected 1)',
    });
    expect(() => readNodeStatus(directory)).toThrow(
      /state.json cannot be used: .* \(version: Expected 1\); use, as root, the command that came with the agent, or start the agent, which writes a new one$/,
    );
  });
});

describe('how a pod is captured', () => {
  const before = dateStatuses(
    enrolWorld({ pods: [pod('a', { ips: ['10.0.0.2'] })], workloads: [workload('a', 100n, 7n)] }).statuses,
    [],
    new Date(0),
  ).map(({ capture: _capture, ...status }) => status);
  const captured = (capture: Capture) => before.map((status) => ({ ...status, capture }));

  it('comes back from the state file, in which earlier agents did not say it', () => {
    for (const workloads of [before, captured({ by: 'route' }), captured({ by: 'rewrite', because: 'x' })]) {
      stateFile(directory).replace(state({ workloads }));
      expect(readState(directory)).toMatchObject({ kind: 'state', state: { workloads } });
    }
  });

  it('is logged when it changes, with the reason, and not when only the reason changes', async () => {
    const lines: Record<string, unknown>[] = [];
    const places = { cgroupRoot: '/cg', hostNetns: '/proc/1/ns/net', version: '0.1.0' };
    const keeper = new StateKeeper(config(), places, stateFile(directory), state({ workloads: before }));
    const pass = (statuses: readonly WorkloadStatus[]): PassResult => ({ ...nothingDone, statuses });
    const captures: Capture[] = [
      { by: 'route' },
      { by: 'route' },
      { by: 'rewrite', because: 'a' },
      { by: 'rewrite', because: 'b' },
    ];
    for (const capture of captures)
      await Effect.runPromise(
        keeper
          .passed(pass(captured(capture)), 1)
          .pipe(
            Effect.provide(
              logging({ level: 'info', format: 'json' }, (line) => void lines.push(JSON.parse(line) as never)),
            ),
          ),
      );
    expect(lines.map(({ msg, pod, capture }) => [msg, pod, capture])).toEqual([
      ['workload', 'shop/a', 'route'],
      ['workload', 'shop/a', 'rewrite: a'],
    ]);
  });
});

describe('since', () => {
  it('changes with the state or the reason, and with nothing else', () => {
    const at = (ms: number): Date => new Date(ms);
    const pending = dateStatuses(enrolWorld({ pods: [pod('a')] }).statuses, [], at(1));
    const later = dateStatuses(enrolWorld({ pods: [pod('a', { ips: ['10.0.0.2'] })] }).statuses, pending, at(2));
    expect(later[0]?.since).toBe(pending[0]?.since);
    const out = dateStatuses(enrolWorld({ pods: [pod('a', { namespace: 'plain' })] }).statuses, later, at(3));
    expect(out[0]?.since).toBe(at(3).toISOString());
  });
});

describe('the memory of manifests', () => {
  it('gives a new agent the objects of a file that is malformed when it starts', async () => {
    const manifests = mkdtempSync(join(tmpdir(), 'sluice-inventory-'));
    const started = async (): Promise<ManifestDirectory> => {
      const file = manifestsFile(directory);
      const scanned = new ManifestDirectory(manifests, new ManifestMemory(file, await Effect.runPromise(file.recall)));
      scanned.scan();
      return scanned;
    };
    try {
      const file = join(manifests, 'a.yaml');
      writeFileSync(file, 'kind: Namespace\nmetadata: {name: shop}\n');
      await started();
      writeFileSync(file, 'kind: [');
      const restarted = await started();
      expect([...restarted.snapshot.inventory.namespaces.keys()]).toEqual(['shop']);
      expect(restarted.snapshot.problems).toHaveLength(1);
      // The memory is kept while the file is malformed.
      expect((await started()).snapshot.inventory.namespaces.size).toBe(1);
      const forgetful = new ManifestDirectory(manifests);
      forgetful.scan();
      expect(forgetful.snapshot.inventory.namespaces.size).toBe(0);
    } finally {
      rmSync(manifests, { recursive: true });
    }
  });
});

describe('the log', () => {
  it('has one JSON object per line, with the message in `msg`', async () => {
    const lines: string[] = [];
    const program = Effect.andThen(Effect.logInfo('ready', { inMesh: 3, id: 5n }), Effect.logDebug('not this'));
    await Effect.runPromise(
      Effect.provide(
        program,
        logging({ level: 'info', format: 'json' }, (line) => void lines.push(line)),
      ),
    );
    expect(lines.map((line) => ({ ...(JSON.parse(line) as object), time: '' }))).toEqual([
      { time: '', level: 'info', msg: 'ready', inMesh: 3, id: '5' },
    ]);
  });

  it('has lines for people', async () => {
    const lines: string[] = [];
    const layer = logging({ level: 'debug', format: 'pretty' }, (line) => void lines.push(line));
    await Effect.runPromise(Effect.provide(Effect.logWarning('workload', { pod: 'a/b', ips: ['10.0.0.2'] }), layer));
    expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d\.\d{3} WARN  workload pod=a\/b ips=\["10\.0\.0\.2"\]$/);
  });
});

describe('the metrics server', () => {
  it('answers its three paths, and names the address at which it cannot listen', async () => {
    const readiness = new Readiness();
    let why: string | undefined = 'the inventory is not there';
    readiness.unless(() => why);
    readiness.unless(() => undefined);
    const program = Effect.gen(function* () {
      const options = { host: '127.0.0.1', port: 0, refresh: Effect.void, whyNotReady: () => readiness.reasons() };
      const port = yield* serveMetrics(options);
      const get = (path: string, method = 'GET') =>
        Effect.promise(async () => {
          const response = await fetch(`http://127.0.0.1:${port}${path}`, { method });
          return [response.status, await response.text()] as const;
        });
      const before = yield* get('/readyz');
      why = undefined;
      const after = yield* get('/readyz');
      const taken = yield* Effect.flip(serveMetrics({ ...options, port }));
      const odd = [
        yield* get('/metrics?name[]=x'),
        yield* get('/healthz', 'HEAD'),
        yield* get('/metrics', 'POST'),
        yield* get('//metrics'),
      ].map(([status]) => status);
      return { before, after, metrics: yield* get('/metrics'), other: yield* get('/'), odd, taken: taken.message };
    });
    const { before, after, metrics, other, odd, taken } = await Effect.runPromise(Effect.scoped(program));
    expect([before, after]).toEqual([
      [503, 'the inventory is not there\n'],
      [200, 'ready\n'],
    ]);
    expect([metrics[0], other[0]]).toEqual([200, 404]);
    expect(odd).toEqual([200, 200, 405, 404]);
    expect(taken).toMatch(/^metrics cannot be served at 127.0.0.1 port \d+: .*EADDRINUSE.*; change `metrics.listen`$/);
  });
});
