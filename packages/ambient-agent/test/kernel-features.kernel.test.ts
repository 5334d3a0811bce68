// The messages about a kernel that lacks something, and whether this kernel has everything.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { findProgram, requires } from '@sluice/testbed';
import * as Effect from 'effect/Effect';
import * as Result from 'effect/Result';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { resolveConfig } from '../src/index.js';
import { checkKernel, kernelProblems } from '../src/node/kernel-features.js';
import { checkPodPlumbing } from '../src/pod-netns/check-pod-plumbing.js';

const need = requires('root', 'bpf', 'netns');

describe.skipIf(need.skip)(`the checks of the kernel${need.label}`, () => {
  let proc: string;
  beforeEach(() => {
    proc = mkdtempSync(join(tmpdir(), 'sluice-proc-'));
  });
  afterEach(() => rmSync(proc, { recursive: true }));
  const config = (mode: 'inPod' | 'node', procPath = '/proc') => ({
    mode,
    paths: { ...defaults().paths, proc: procPath },
  });

  it.each(['inPod', 'node'] as const)('find nothing missing here, for %s', async (mode) => {
    expect(kernelProblems(config(mode))).toEqual([]);
    await Effect.runPromise(checkKernel(config(mode)));
  });

  it('name a missing feature, its release, and its purpose', () => {
    const asked: (readonly string[])[] = [];
    const [problem, ...others] = kernelProblems(config('node'), (paths) => {
      asked.push(paths);
      const name = 'helper bpf_set_retval in cgroup_inet4_connect programs';
      return [{ name, since: '5.18', usedBy: 'sluice_connect4', options: 'CONFIG_CGROUP_BPF' }];
    });
    expect(others).toEqual([]);
    expect(asked).toHaveLength(1);
    expect(asked[0]).toHaveLength(1);
    expect(problem).toBe(
      `Linux ${release()} has no helper bpf_set_retval in cgroup_inet4_connect programs, which sluice_connect4 needs; ` +
        'it is in Linux 5.18 (CONFIG_CGROUP_BPF), and the oldest that is tested is 6.1',
    );
  });

  it('report that the kernel may not be asked', () => {
    const [problem] = kernelProblems(config('inPod'), () => {
      throw new Error('cannot ask for programs: Operation not permitted (EPERM)');
    });
    expect(problem).toContain('the kernel cannot be asked for BPF features: cannot ask for programs: Operation not');
  });

  it('report a Yama that forbids duplicating sockets, in the mode that needs it', () => {
    mkdirSync(join(proc, 'sys/kernel/yama'), { recursive: true });
    writeFileSync(join(proc, 'sys/kernel/yama/ptrace_scope'), '3\n');
    expect(kernelProblems(config('node', proc))).toEqual([]);
    expect(kernelProblems(config('inPod', proc))).toEqual([expect.stringContaining('kernel.yama.ptrace_scope is 3')]);
    writeFileSync(join(proc, 'sys/kernel/yama/ptrace_scope'), '2\n');
    expect(kernelProblems(config('inPod', proc))).toEqual([]);
  });

  const setpriv = findProgram('setpriv');
  it.skipIf(setpriv === undefined)('name the capabilities that are missing', () => {
    const code = `import(${JSON.stringify(new URL('../dist/node/kernel-features.js', import.meta.url).href)}).then(
      ({ kernelProblems }) => console.log(kernelProblems({ mode: 'inPod', paths: { proc: '/proc' } }).join('\\n')));`;
    const argv = ['--bounding-set=-sys_ptrace,-net_admin', process.execPath, '--input-type=module', '-e', code];
    const lines = execFileSync(setpriv ?? '', argv)
      .toString()
      .trim()
      .split('\n');
    expect(lines).toEqual([
      expect.stringMatching(/^this process lacks CAP_NET_ADMIN, /),
      expect.stringMatching(/^this process lacks CAP_SYS_PTRACE, /),
    ]);
  });

  it('plumb a namespace as they would a pod’s', async () => {
    const { paths, ambient } = defaults();
    await Effect.runPromise(checkPodPlumbing({ paths, ambient }));
    const readOnly = checkPodPlumbing({ paths: { ...paths, proc }, ambient });
    const error = await Effect.runPromise(Effect.flip(readOnly));
    expect(error).toMatchObject({ _tag: 'StartupError', check: 'kernel' });
    expect(error.message).toContain(`(${proc}/sys/net/ipv4/tcp_fwmark_accept): ENOENT`);
  });
});

function defaults() {
  return Result.getOrThrow(resolveConfig({ nodeName: 'here' }, 'test'));
}
