// The example in deploy/ is what people start from: it must be accepted, and say the defaults that the agent has.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as Effect from 'effect/Effect';
import * as Result from 'effect/Result';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { loadConfig, resolveConfig } from '../src/index.js';

const EXAMPLE = fileURLToPath(new URL('../../../deploy/sluice.yaml', import.meta.url));
/** Capacities are the datapath's unless they are set: bpf/maps.h has them. */
const MAPS = fileURLToPath(new URL('../../../bpf/maps.h', import.meta.url));

describe('deploy/sluice.yaml', () => {
  it('is accepted, and says the defaults', async () => {
    const example = await Effect.runPromise(loadConfig(EXAMPLE));
    const defaults = Result.getOrThrow(resolveConfig({}, 'nothing', process.env));
    expect({ ...example, capacities: {} }).toEqual(defaults);
  });

  it('says the capacities that the datapath has', () => {
    const { capacities } = parse(readFileSync(EXAMPLE, 'utf8')) as { capacities: Record<string, number> };
    const source = readFileSync(MAPS, 'utf8');
    const defined = (name: string): number => Number(new RegExp(`#define ${name}\\s+(\\d+)`).exec(source)?.[1]);
    expect(capacities).toEqual({
      cgroups: defined('CGROUP_CAPACITY'),
      netns: defined('NETNS_CAPACITY'),
      localPods: defined('POD_IP_CAPACITY'),
      excludedPorts: defined('RULE_CAPACITY'),
      excludedCIDRs: defined('RULE_CAPACITY'),
      pendingConnections: defined('PENDING_CAPACITY'),
      exemptConnections: defined('EXEMPT_CAPACITY'),
    });
  });
});
