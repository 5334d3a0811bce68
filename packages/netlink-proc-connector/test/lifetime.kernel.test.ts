// Processes of their own: failures with their messages, exits with the connector open, workers, and leaks.
import { execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { requires } from '@sluice/testbed';
import { describe, expect, it } from 'vitest';

const need = requires('root', 'proc-connector');
const child = fileURLToPath(new URL('child.mjs', import.meta.url));
const run = promisify(execFile);

async function runChild(
  wrapper: readonly string[],
  mode: string,
  options = {},
  nodeOptions: readonly string[] = [],
): Promise<unknown> {
  const command = [...wrapper, process.execPath, ...nodeOptions, child, mode, JSON.stringify(options)];
  const { stdout } = await run(command[0] ?? process.execPath, command.slice(1));
  return JSON.parse(stdout.split('\n')[0] ?? '');
}

describe.skipIf(need.skip)(`a process that cannot have the connector is told why${need.label}`, () => {
  it('without CAP_NET_ADMIN', async () => {
    const refusal = await runChild(['setpriv', '--bounding-set=-all', '--inh-caps=-all'], 'open');
    expect(refusal).toMatchObject({ name: 'ProcConnectorError', code: 'EPERM', errno: 1, syscall: 'setsockopt' });
    expect(refusal).toHaveProperty(
      'message',
      expect.stringMatching(/^cannot open the proc connector: .*CAP_NET_ADMIN.*run as root/),
    );
  });

  it('if no thread can be made', async () => {
    // Root is under no limit on tasks (RLIMIT_NPROC), so the process is nobody's, with the capabilities that the test needs.
    const capabilities = '+net_admin,+dac_override';
    const nobody = ['--reuid=65534', '--regid=65534', '--clear-groups', `--inh-caps=${capabilities}`];
    expect(await runChild(['setpriv', ...nobody, `--ambient-caps=${capabilities}`], 'no-thread')).toEqual({
      name: 'ProcConnectorError',
      message:
        'cannot open the proc connector: pthread_create failed with EAGAIN: no thread could be made; raise the limit on tasks (pids.max, RLIMIT_NPROC)',
      code: 'EAGAIN',
      syscall: 'pthread_create',
      leaked: 0,
    });
  });

  it('in another network namespace', async () => {
    const refusal = await runChild(['unshare', '--net'], 'open');
    expect(refusal).toMatchObject({ code: 'ECONNREFUSED', syscall: 'send' });
    expect(refusal).toHaveProperty('message', expect.stringContaining('hostNetwork: true'));
  });

  it('in another pid namespace', async () => {
    const refusal = await runChild(['unshare', '--pid', '--fork', '--mount-proc'], 'open', { ackTimeoutMs: 200 });
    expect(refusal).toMatchObject({ code: 'ETIMEDOUT', syscall: 'PROC_CN_MCAST_LISTEN' });
    expect(refusal).toHaveProperty('message', expect.stringMatching(/another pid namespace.*hostPID: true/));
  });

  it('in another user namespace', async () => {
    const wrapper = ['unshare', '--user', '--map-root-user'];
    const refused = await runChild(wrapper, 'open');
    expect(refused).toMatchObject({ code: 'EPERM', syscall: 'setsockopt' });
    // If nothing asks for the capability, the kernel still does not answer.
    const unanswered = await runChild(wrapper, 'open', { receiveBufferBytes: 0, ackTimeoutMs: 200 });
    expect(unanswered).toMatchObject({ code: 'ETIMEDOUT' });
    expect(unanswered).toHaveProperty('message', expect.stringMatching(/another user namespace.*hostUsers: true/));
  });
});

describe.skipIf(need.skip)(`the life of a process with a connector${need.label}`, () => {
  const exitCode = (mode: string): number | null =>
    spawnSync(process.execPath, [child, mode], { stdio: 'ignore' }).status;

  it('ends by itself once it is closed', async () => {
    expect(await runChild([], 'open')).toMatchObject({ opened: { receiveBufferBytes: 2 * 8 * 1024 * 1024 } });
  });

  it('goes on while it is open', async () => {
    const holder = spawn(process.execPath, [child, 'hold'], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      const said = createInterface({ input: holder.stdout })[Symbol.asyncIterator]();
      expect(await said.next()).toMatchObject({ value: '"holding"' });
      // Its only task is to hear of other processes.
      for (let heard = 0; heard < 2; heard += 1) {
        spawnSync('/bin/true');
        expect(JSON.parse(String((await said.next()).value))).toEqual({ events: expect.any(Number) as unknown });
      }
    } finally {
      holder.kill('SIGTERM');
      expect(await once(holder, 'exit')).toEqual([null, 'SIGTERM']);
    }
  });

  it('exits with it open', () => expect(exitCode('exit')).toBe(7));

  it('dies of an exception with it open', () => expect(exitCode('throw')).toBe(1));

  it('gets what onBatch throws as an uncaught exception, more than once', async () => {
    expect(await runChild([], 'batch-throws')).toEqual({ message: 'from onBatch' });
  });

  it('opens and closes 1000 times without a leaked descriptor', async () => {
    expect(await runChild([], 'many')).toEqual({ leaked: 0 });
  });

  it('collects closed connectors', async () => {
    expect(await runChild([], 'collected', {}, ['--expose-gc'])).toBe('collected');
  });

  it('uses it in workers that end with it open or closed', async () => {
    expect(await runChild([], 'worker')).toEqual({ reported: [true, true, true, true, true] });
  });
});
