// A short soak: a few random things happen to a node, and no connection may be accepted by the wrong party. SLUICE_SEED repeats
// one; `npm run bench -- soak` runs for long, and shortens what fails.
import { requires } from '@sluice/testbed';
import { describe, expect, it } from 'vitest';
import { runSteps } from '../src/soak/run.js';
import { runOf } from '../src/soak/soak.js';
import { stepText } from '../src/soak/steps.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns', 'proc-connector');
const SEED = Number(process.env['SLUICE_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const STEPS = 24;
const PATIENCE_MS = 120_000;

describe.skipIf(need.skip)(`a short soak, SLUICE_SEED=${SEED}${need.label}`, () => {
  it('has every connection accepted by the right party, and the maps as the model wants them', async () => {
    const { settings, steps } = runOf(SEED, { steps: STEPS, without: new Set() });
    const { failure, counts } = await runSteps(steps, settings, PATIENCE_MS);
    expect(failure, `${JSON.stringify(settings)}\n${steps.map(stepText).join('\n')}`).toBeUndefined();
    expect(counts.mesh + counts.direct).toBeGreaterThan(0);
  });
});
