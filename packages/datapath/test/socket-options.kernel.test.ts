// getsockopt(): only SO_ORIGINAL_DST of an accepted connection answers differently, and that at every length.
import { fileURLToPath } from 'node:url';
import {
  LineProcess,
  endpoint,
  enterCommand,
  peerProgram,
  requires,
  type HostProcess,
  type Pod,
} from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MeshedNode } from './meshed-node.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');
const PROGRAM = fileURLToPath(new URL('ask-options.mjs', import.meta.url));

type Answers = Record<'listening' | 'accepted' | 'dialling', Record<string, string>>;

describe.skipIf(need.skip)(`socket options${need.label}`, () => {
  let mesh: MeshedNode;
  let ztunnel: Pod;
  let pod: Pod;
  let host: HostProcess;

  beforeAll(async () => {
    mesh = await MeshedNode.create();
    // It has no outbound listener; the test's program takes that place.
    const standIn = await mesh.node.ztunnel({ ports: [15008] });
    ztunnel = standIn.pod;
    mesh.setZtunnel(standIn);
    pod = await mesh.node.pod({ name: 'a' });
    mesh.enrol(pod);
    mesh.apply();
    host = await mesh.node.hostProcess();
  });
  afterAll(async () => mesh?.close());

  /** The answers in ztunnel's network namespace to a process in the given cgroup, about a connection that `dial` makes. */
  async function answers(cgroup: string, port: number, dial: () => Promise<unknown>): Promise<Answers> {
    const { ip4 } = mesh.node.remote;
    const argv = [process.execPath, PROGRAM, String(port), ip4, '80'];
    const asking = await LineProcess.start(enterCommand({ cgroup, netns: ztunnel.netns }, argv));
    await asking.lineMatching(/^ready$/);
    const [line] = await Promise.all([asking.nextLine(), dial()]);
    return JSON.parse(line) as Answers;
  }

  /** The questions whose answers differ between the two. */
  function differences(ours: Record<string, string>, others: Record<string, string>): Record<string, string> {
    return Object.fromEntries(Object.entries(ours).filter(([question, answer]) => others[question] !== answer));
  }

  it.each([4, 6] as const)('of an IPv%i connection', async (family) => {
    const ip = family === 4 ? mesh.node.remote.ip4 : mesh.node.remote.ip6;
    const own = family === 4 ? ztunnel.ip4 : ztunnel.ip6;
    const ours = await answers(ztunnel.app.place.cgroup, 15001, () => pod.dial(endpoint(ip, 80)));
    const outside = `${mesh.node.cgroup.path}-outside`;
    const others = await answers(outside, 15003, () => host.dial(endpoint(own, 15003)));
    // struct sockaddr_in and sockaddr_in6 on a little-endian machine: family, port 80, address.
    const [level, size, answer] =
      family === 4
        ? [0, 16, '020000500a4201020000000000000000']
        : [41, 28, '0a00005000000000fd66000000000001000000000000000200000000'];
    const lengths = [16, 17, 20, 27, 28, 29, 128, 4095, 4096, 4097, 65536].filter((length) => length >= size);
    expect(differences(ours.accepted, others.accepted)).toEqual(
      Object.fromEntries(lengths.map((length) => [`${level} 80 ${length}`, answer])),
    );
    expect(differences(ours.listening, others.listening)).toEqual({});
    expect(differences(ours.dialling, others.dialling)).toEqual({});
  });

  it('whose answer names a longer length than was asked for', async () => {
    const memberships = async (cgroup: string, length: number): Promise<unknown> => {
      const argv = [peerProgram(), 'memberships', '--length', String(length)];
      const asking = await LineProcess.start(enterCommand({ cgroup, netns: ztunnel.netns }, argv));
      return JSON.parse(await asking.nextLine());
    };
    for (const length of [0, 2, 4, 8]) {
      const outside = await memberships(`${mesh.node.cgroup.path}-outside`, length);
      expect(outside).toMatchObject({ error: '', length: expect.any(Number) });
      expect(await memberships(pod.app.place.cgroup, length)).toEqual(outside);
    }
  });
});
