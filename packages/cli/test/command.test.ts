// The built command from outside: help, usage errors, exit codes.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stateFile, type AgentState } from '@sluice/ambient-agent';
import { afterAll, describe, expect, it } from 'vitest';
import { runProgram, SLUICE, type CommandResult } from './program.js';

const sluice = (...args: string[]): Promise<CommandResult> => runProgram([process.execPath, SLUICE, ...args]);
const directory = mkdtempSync(join(tmpdir(), 'sluice-cli-'));
afterAll(() => rmSync(directory, { recursive: true }));

describe('the command', () => {
  it('has a help text for itself and each subcommand', async () => {
    const { code, stdout } = await sluice('--help');
    expect(code).toBe(0);
    for (const name of ['run', 'status', 'watch', 'explain', 'log-level', 'cleanup', 'version', 'Exit codes'])
      expect(stdout).toContain(name);
    const explain = await sluice('explain', '--help');
    expect(explain.stdout).toContain('sluice explain --pod shop/cart-7d4b9 --to 10.1.2.3:8080');
    const status = await sluice('status', '--help');
    expect(status.stdout).toMatch(/--verify/);
    expect(status.stdout).toContain(
      'It then exits with 0 if there is no difference, whether an agent runs or not; with 3',
    );
  });

  it('says how `status --verify` ends', async () => {
    const { stdout } = await sluice('status', '--help');
    expect(stdout).toMatch(/^ +--verify /m);
    expect(stdout).toContain('It then exits with 0 if there is no difference, whether an agent runs or not; with 3');
  });

  it('shows its version, for people and for machines', async () => {
    expect((await sluice('version')).stdout).toMatch(/^sluice \d+\.\d+\.\d+ \(Node\.js v\d+/);
    expect(JSON.parse((await sluice('version', '-o', 'json')).stdout)).toMatchObject({ version: expect.any(String) });
  });

  const usage: [string, string[], RegExp][] = [
    [
      'unknown subcommand',
      ['statsu'],
      /^sluice: "statsu" is not a command; did you mean `status`\? See `sluice --help`\n$/,
    ],
    [
      'unknown level',
      ['log-level', 'loud'],
      /^sluice: <level> cannot be "loud"; write `debug` or .* or `configured`; see `sluice log-level --help`\n$/,
    ],
    ['unknown flag', ['status', '--wat'], /^sluice: `--wat` is not an option of `sluice status`; see .*\n$/],
    ['help with a value', ['--help=x'], /^sluice: --help cannot be "x"; write `true` or .*; see `sluice --help`\n$/],
    [
      'destination left out',
      ['explain', '--from-host'],
      /^sluice: --to is missing; write --to 10.0.0.1:80 or \[fd00::1\]:80\n$/,
    ],
    [
      'client left out',
      ['explain', '--to-pod', 'a/b:80'],
      /^sluice: --from is missing; write --from 10.0.0.1 or fd00::1\n$/,
    ],
    [
      'no caller',
      ['explain', '--to', '10.0.0.1:80'],
      /^sluice: name the caller: --pod NAMESPACE\/NAME, --from-host or --from-kubelet$/m,
    ],
    ['two callers', ['explain', '--from-host', '--pod', 'a/b', '--to', '10.0.0.1:80'], /name only one caller/],
    [
      'no destination',
      ['explain', '--from-host', '--to', 'shop:80'],
      /--to shop:80 is not an address and a port; write 10.0.0.1:80 or \[fd00::1\]:80/,
    ],
    [
      'every argument wrong',
      ['explain', '--pod', 'a', '--to', '1.2.3'],
      /^sluice: --pod a is not NAMESPACE\/NAME, such as shop\/cart; --to 1.2.3 is not an address and a port; write 10.0.0.1:80 or \[fd00::1\]:80$/m,
    ],
    [
      'port out of range',
      ['explain', '--from-host', '--to', '[::1]:65536'],
      /^sluice: --to \[::1\]:65536 is not an address and a port/m,
    ],
    [
      'no such file',
      ['status', '--config', '/nonexistent.yaml'],
      /\/nonexistent.yaml: cannot be read .*name an existing file with --config/,
    ],
  ];
  it.each(usage)('exits with 2: %s', async (_name, args, message) => {
    const { code, stderr, stdout } = await sluice(...args);
    expect([code, stderr + stdout]).toEqual([2, expect.stringMatching(message)]);
  });

  it('names every mistake of a configuration file', async () => {
    const path = join(directory, 'config.yaml');
    writeFileSync(path, 'mode: sidecar\nztunnel:\n  namspace: x\n');
    const { code, stderr } = await sluice('run', '--config', path);
    expect([code, stderr]).toEqual([
      2,
      `sluice: ${path}: 2 problems\n  - line 1: \`mode\` cannot be "sidecar"; write \`node\` or \`inPod\`\n  - line 3: \`ztunnel.namspace\` is not a setting; did you mean \`namespace\`?\n`,
    ]);
  });

  it('prints everything, however slow the reader', async () => {
    const runDir = join(directory, 'large');
    mkdirSync(runDir);
    const problems = Array.from({ length: 5000 }, (_, index) => `problem ${index} of a node where nothing is right`);
    stateFile(runDir).replace(largeState(problems));
    const argv = `"${process.execPath}" "${SLUICE}" status -o json --run-dir "${runDir}"`;
    const { stdout } = await runProgram(['sh', '-c', `${argv} | { sleep 1; cat; }`]);
    expect((JSON.parse(stdout) as { state: AgentState }).state.problems).toEqual(problems);
  });

  it('says in one line that what it prints cannot be written', async () => {
    const { code, stderr } = await runProgram(['sh', '-c', `"${process.execPath}" "${SLUICE}" version > /dev/full`]);
    expect([code, stderr]).toEqual([
      1,
      'sluice: the output cannot be written: ENOSPC: no space left on device, write\n',
    ]);
  });

  it('exits with 3 if no agent has run', async () => {
    const { code, stderr } = await sluice('status', '--run-dir', join(directory, 'none'));
    expect([code, stderr]).toEqual([
      3,
      expect.stringMatching(/no agent has run here: there is no .*state.json; start one with `sluice run`/),
    ]);
  });
});

const largeState = (problems: readonly string[]): AgentState => ({
  version: 1,
  writtenAt: '2026-01-01T00:00:00.000Z',
  agent: { version: '0.1.0', pid: 1, startTicks: '', startedAt: '2026-01-01T00:00:00.000Z' },
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
  ztunnels: { ipv4: undefined, ipv6: undefined, pods: [] },
  kubelets: [],
  workloads: [],
  problems,
  lastReconcile: undefined,
  errors: {},
});
