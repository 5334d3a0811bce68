// The worst case for anything remembered: the next process gets the same pid, and its network namespace the same inode. The
// test makes this happen, and does not wait for it, by ns_last_pid in a pid namespace of its own (CONFIG_CHECKPOINT_RESTORE).
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { PATIENCE_MS, requires } from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { podNames, TestNode } from './fixtures/node.js';

const need = requires('root', 'cgroup2', 'netns');
const canChoosePids = existsSync('/proc/sys/kernel/ns_last_pid');
const label = canChoosePids ? need.label : ' [skipped: needs /proc/sys/kernel/ns_last_pid]';

const REUSES = 4;

interface Round {
  address: string;
  resolution: { kind: string; podUid: string; netns: { inode: string; cookie: string; addresses: string[] } };
  verified: { inode: string; cookie: string; addresses: string[] };
  cookie: string;
  afterwards: { kind: string };
}

describe.skipIf(need.skip || !canChoosePids)(`a reused pid and a reused namespace inode${label}`, () => {
  const pods = [podNames(), podNames()] as const;
  let node: TestNode;

  beforeAll(() => {
    node = new TestNode();
  });
  afterAll(() => node.remove());

  it('are never taken for the old ones', () => {
    const cgroups = pods.map(({ uid, id }) => node.cgroup(`/kubepods/besteffort/pod${uid}/${id}`));
    const program = `
      import { spawn } from 'node:child_process';
      import { once } from 'node:events';
      import { readFileSync, writeFileSync } from 'node:fs';
      import { setTimeout as sleep } from 'node:timers/promises';
      import { CgroupResolver } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)};
      import { netnsCookie } from '@sluice/linux';
      const { root, cgroups, uids, hostNetns } = JSON.parse(process.argv[1]);
      const addressOf = (round) => '10.66.' + (1 + (round >> 8)) + '.' + (round & 255);
      const resolver = new CgroupResolver({ cgroupRoot: root, hostNetns });
      const chosenPid = 4711;
      const script = 'echo $$ > "$1/cgroup.procs"; ip address add "$2" dev lo; exec sleep 600';
      async function start(cgroup, address) {
        for (let tries = 0; tries < 200; tries++) {
          writeFileSync('/proc/sys/kernel/ns_last_pid', String(chosenPid - 1));
          const child = spawn('unshare', ['--net', 'sh', '-c', script, 'sh', cgroup, address], { stdio: 'inherit' });
          while (child.exitCode === null && readFileSync('/proc/' + child.pid + '/comm', 'utf8') !== 'sleep\\n') await sleep(5);
          if (child.pid === chosenPid) return child;
          await end(child);
          await sleep(20);
        }
        throw new Error('the pid did not come again');
      }
      async function end(child) {
        const ended = once(child, 'exit');
        child.kill('SIGKILL');
        await ended;
      }
      // The kernel frees an inode when it gets round to the namespace, and others on the machine may be given it first: go on
      // until it came again often enough.
      const over = performance.now() + ${PATIENCE_MS};
      const rounds = [];
      const seen = new Set();
      for (let round = 0, reused = 0; reused < ${REUSES} && performance.now() < over; round++) {
        const which = round % 2;
        const address = addressOf(round);
        const child = await start(cgroups[which], address + '/32');
        const pod = resolver.pod(uids[which]);
        rounds.push({
          address,
          resolution: resolver.resolveProcess(child.pid),
          verified: resolver.podNetns(pod),
          cookie: netnsCookie('/proc/' + child.pid + '/ns/net'),
        });
        const { inode } = rounds.at(-1).resolution.netns;
        if (seen.has(inode)) reused++;
        seen.add(inode);
        await end(child);
        rounds.at(-1).afterwards = resolver.resolveProcess(child.pid);
      }
      process.stdout.write(JSON.stringify(rounds, (_, value) => (typeof value === 'bigint' ? String(value) : value)));`;
    const options = JSON.stringify({
      root: node.root,
      cgroups,
      uids: pods.map(({ uid }) => uid),
      hostNetns: '/proc/1/ns/net',
    });
    const output = execFileSync(
      'unshare',
      ['--pid', '--fork', '--mount', '--mount-proc', process.execPath, '--input-type=module', '-e', program, options],
      { encoding: 'utf8', cwd: new URL('..', import.meta.url) },
    );
    const rounds = JSON.parse(output) as Round[];
    const inodes = new Set(rounds.map(({ resolution }) => resolution.netns.inode));
    expect(rounds.length - inodes.size).toBe(REUSES);
    expect(new Set(rounds.map(({ cookie }) => cookie)).size).toBe(rounds.length);
    for (const [index, round] of rounds.entries()) {
      const ref = { cookie: round.cookie, addresses: [round.address] };
      expect(round.resolution).toMatchObject({ kind: 'pod', podUid: pods[index % 2]?.uid, netns: ref });
      expect(round.verified).toMatchObject(ref);
      expect(round.afterwards).toEqual({ kind: 'gone' });
    }
  });
});
