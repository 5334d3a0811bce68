// The agent's life as a child process, with a shell as the agent; and the view of a pure cgroup2 machine.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { requires, TestNode } from '../src/index.js';

const need = requires('root', 'cgroup2', 'netns');

describe.skipIf(need.skip)(`the agent's process${need.label}`, () => {
  let node: TestNode;
  beforeAll(async () => {
    node = await TestNode.create({ remotePorts: [] });
  });
  afterAll(() => node?.close());

  test.each(['>&1', '>&2'])('start, kill -9, restart, stop; its ready line may be on %s', async (stream) => {
    const agent = node.agent({
      command: ['sh', '-c', `echo starting; echo took over ${stream}; exec sleep 1000`],
      ready: /took over/,
    });
    expect(() => agent.process).toThrow('has not been started');
    await agent.start();
    const first = agent.process;
    await agent.kill9();
    expect(await first.exited).toEqual({ code: null, signal: 'SIGKILL' });
    await agent.restart();
    expect(agent.process.pid).not.toBe(first.pid);
    expect((await agent.stop()).signal).toBe('SIGTERM');
  });

  test('an agent that ends before it is ready rejects with what it said', async () => {
    const agent = node.agent({ command: ['sh', '-c', 'echo no such map >&2; exit 3'], ready: /never/ });
    await expect(agent.start()).rejects.toThrow(/status 3.*no such map/);
  });

  test('in the pure-v2 view cgroup2 is all there is, and the node is in it', async () => {
    const script = `stat -f -c %T /sys/fs/cgroup; ls -d /sys/fs/cgroup/${node.id}; grep -c cgroup /proc/self/mounts`;
    const view = await node.inPureV2View(['sh', '-c', script]);
    await view.exited;
    expect(view.history).toEqual(['cgroup2fs', `/sys/fs/cgroup/${node.id}`, '1']);
  });
});
