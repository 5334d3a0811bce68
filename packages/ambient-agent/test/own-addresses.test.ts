// Which addresses count as a pod's own, and how many.
import { describe, expect, it } from 'vitest';
import { ownAddresses } from '../src/enrolment/own-addresses.js';
import { config, enrolWorld, pod, workload } from './world.js';

const many = Array.from({ length: 100 }, (_, index) => `10.9.0.${index}`);

describe('the addresses of a pod', () => {
  it('are its IPs and what its namespace holds, each once, without the loopback', () => {
    const held = ['127.0.0.1', '::1', 'FE80:0::1', '10.0.0.2', '192.0.2.7', '127.8.0.1'];
    expect(ownAddresses(['10.0.0.2', 'fd00::2'], held)).toEqual({
      addresses: ['10.0.0.2', 'fd00::2', '192.0.2.7', 'fe80::1'],
      problem: undefined,
    });
    expect(ownAddresses(['10.0.0.2'], []).addresses).toEqual(['10.0.0.2']);
  });

  it('are at most 64, among them all IPs, whatever the order in which the kernel has them', () => {
    const { addresses, problem } = ownAddresses(['10.0.0.2', 'fd00::2'], many);
    expect(addresses).toHaveLength(64);
    expect(addresses.slice(0, 2)).toEqual(['10.0.0.2', 'fd00::2']);
    expect(ownAddresses(['10.0.0.2', 'fd00::2'], many.toReversed())).toEqual({ addresses, problem });
    expect(problem).toMatch(
      /^its network namespace has 102 addresses, and only 64 .*, such as 10\.9\.0\.\d+, go to ztunnel/,
    );
  });

  it('are in the maps under its namespace, and a pod with too many is told so', () => {
    const enrolled = (held: readonly string[], mode = 'inPod') =>
      enrolWorld({
        pods: [pod('a', { ips: ['10.0.0.2'] })],
        workloads: [workload('a', 100n, 7n)],
        config: config({ mode }),
        addresses: new Map([
          [7n, held],
          [8n, ['10.0.0.8']],
        ]),
      });
    expect(enrolled(['10.0.0.2', 'fe80::1']).desired.ownAddresses).toEqual(new Map([[7n, ['10.0.0.2', 'fe80::1']]]));
    expect(enrolled(['10.0.0.2', ...many]).statuses[0]?.problems).toEqual([
      expect.stringMatching(/has 10\d addresses/),
    ]);
    expect(enrolled(many, 'node').desired.ownAddresses.size).toBe(0);
  });
});
