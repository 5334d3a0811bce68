// What a configuration file may say, and what the agent answers when it says something else.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as Effect from 'effect/Effect';
import * as Result from 'effect/Result';
import { afterAll, describe, expect, it } from 'vitest';
import { loadConfig, resolveConfig } from '../src/index.js';

const problemsOf = (tree: unknown): readonly string[] =>
  Result.match(resolveConfig(tree, 'sluice.yaml'), { onFailure: ({ problems }) => problems, onSuccess: () => [] });

describe('defaults', () => {
  it('are Istio’s', () => {
    const config = Result.getOrThrow(resolveConfig({}, 'test', { NODE_NAME: 'from-env' }));
    expect(config).toMatchObject({
      mode: 'inPod',
      nodeName: 'from-env',
      excludeNamespaces: ['kube-system'],
      ztunnel: { namespace: 'istio-system', labels: { app: 'ztunnel' }, serviceAccount: 'ztunnel', byMark: false },
      policy: { noZtunnel: 'closed', pending: 'hold' },
      zds: { socket: '/var/run/ztunnel/ztunnel.sock' },
      probes: { exempt: 'kubelet' },
      ambient: { dnsCapture: true, ipv6: true },
      resyncIntervalMs: 30_000,
      metrics: { listen: undefined },
    });
  });
  it('stand for empty sections', () => {
    expect(problemsOf({ policy: null, ztunnel: {}, exclude: { outboundPorts: null } })).toEqual([]);
  });
});

describe('a file', () => {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-config-file-'));
  afterAll(() => rmSync(directory, { recursive: true }));

  it('with an asterisk that YAML takes for an alias is not understood, and says so', async () => {
    const path = join(directory, 'config.yaml');
    writeFileSync(path, 'metrics:\n  listen: *:15014\n');
    const error = await Effect.runPromise(Effect.flip(loadConfig(path)));
    expect(error.message).toBe(
      `${path}: not YAML: Unresolved alias (the anchor must be set before the alias): :15014; put a value that begins with \`*\` or \`&\` in quotes`,
    );
  });
});

describe('problems', () => {
  const cases: [string, unknown, readonly string[]][] = [
    ['unknown name', { nodename: 'a' }, ['`nodename` is not a setting; did you mean `nodeName`?']],
    [
      'unknown name in a section',
      { ztunnel: { namespce: 'a' } },
      ['`ztunnel.namespce` is not a setting; did you mean `namespace`?'],
    ],
    [
      'nothing near',
      { policy: { xyzzyplugh: 1 } },
      ['`policy.xyzzyplugh` is not a setting; known here: noZtunnel, pending'],
    ],
    [
      'socket',
      { zds: { socket: 'ztunnel.sock' } },
      ['`zds.socket`: an absolute path of at most 107 bytes is expected'],
    ],
    ['duration', { resyncInterval: 'often' }, ['`resyncInterval`: often is not a duration; write it like 30s or 5m']],
    [
      'listen',
      { metrics: { listen: '9090' } },
      ['`metrics.listen`: 9090 is not an address and port; write it like 127.0.0.1:15014'],
    ],
    [
      'range',
      { exclude: { outboundCIDRs: ['10.0.0.0/99'] } },
      ['`exclude.outboundCIDRs[0]`: 10.0.0.0/99 is not a CIDR; write it like 10.0.0.0/8 or fd00::/8'],
    ],
    ['not a mapping', ['a'], ['a mapping of settings is expected, such as `nodeName: node-1`']],
  ];
  it.each(cases)('%s', (_name, tree, problems) => expect(problemsOf(tree)).toEqual(problems));

  it('are all told at once, each with its place', () => {
    const problems = problemsOf({
      mode: 'other',
      exclude: { outboundPorts: [0] },
      log: { level: 'loud' },
      nodeName: 7,
    });
    expect(problems).toHaveLength(4);
    for (const place of ['`mode`', '`exclude.outboundPorts[0]`', '`log.level`', '`nodeName`']) {
      expect(problems.some((text) => text.startsWith(place))).toBe(true);
    }
  });
});

describe('a file', () => {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-config-'));
  afterAll(() => rmSync(directory, { recursive: true }));
  const write = (text: string): string => {
    const path = join(directory, 'sluice.yaml');
    writeFileSync(path, text);
    return path;
  };
  it('is overruled by the command line', async () => {
    const path = write('nodeName: a\npaths:\n  runDir: /run/x\n  proc: /p\n');
    const config = await Effect.runPromise(
      loadConfig(path, { values: { nodeName: 'b', paths: { runDir: '/run/y', bpffs: undefined } } }),
    );
    expect(config).toMatchObject({ nodeName: 'b', paths: { runDir: '/run/y', proc: '/p', bpffs: '/sys/fs/bpf' } });
  });
  it('that is absent or no YAML is named in the error', async () => {
    const messageOf = (path: string): Promise<string> =>
      Effect.runPromise(Effect.flip(loadConfig(path)).pipe(Effect.map(({ message }) => message)));
    await expect(messageOf('/nonexistent.yaml')).resolves.toMatch(/^\/nonexistent.yaml: cannot be read .*--config/);
    await expect(messageOf(write('a: [1\nb: 2'))).resolves.toMatch(/sluice.yaml: not YAML: .*line 2/);
  });
});
