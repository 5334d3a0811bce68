import { describe, expect, it } from 'vitest';
import { maps } from '../src/generated/maps.js';
import { CAPACITIES, defaultCapacities } from '../src/layout.js';

describe('a capacity', () => {
  it.each(Object.entries(CAPACITIES))('%s is one number in C for each of its maps', (name, of) => {
    for (const map of of) expect(maps[map].maxEntries).toBe(defaultCapacities[name as keyof typeof CAPACITIES]);
  });
});
