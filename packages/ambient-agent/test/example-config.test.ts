// People start from the example in deploy/: it must be accepted, and have the agent's defaults.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defaultCapacities } from '@sluice/datapath';
import * as Effect from 'effect/Effect';
import * as Result from 'effect/Result';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { loadConfig, resolveConfig } from '../src/index.js';

const EXAMPLE = fileURLToPath(new URL('../../../deploy/sluice.yaml', import.meta.url));

describe('deploy/sluice.yaml', () => {
  it('is accepted, and has the defaults', async () => {
    const example = await Effect.runPromise(loadConfig(EXAMPLE));
    expect(example).toEqual(Result.getOrThrow(resolveConfig({}, 'nothing')));
  });

  it('has an accepted value for each setting without a default', () => {
    const all = readFileSync(EXAMPLE, 'utf8').replaceAll(/^( *)# ([A-Za-z]+: \S+)$/gm, '$1$2');
    expect(Result.getOrThrow(resolveConfig(parse(all), 'example'))).toMatchObject({
      nodeName: 'node-1',
      kubelet: { cgroup: '/sys/fs/cgroup/system.slice/kubelet.service' },
      metrics: { listen: { host: '127.0.0.1', port: 15014 } },
    });
  });

  it('names every capacity', () => {
    const { capacities } = parse(readFileSync(EXAMPLE, 'utf8')) as { capacities: Record<string, number> };
    expect(capacities).toEqual(defaultCapacities);
  });
});
