// Events on pods: who is told what, when, and how seldom.
import { describe, expect, it } from 'vitest';
import { NOT_ENROLLED, PARTLY_ENROLLED, PodWarnings, type WorkloadStatus } from '../src/index.js';

const status = (over: Partial<WorkloadStatus>): WorkloadStatus => ({
  uid: 'a',
  namespace: 'shop',
  name: 'a',
  ips: [],
  cgroups: [],
  netnsCookie: undefined,
  role: 'workload',
  state: 'in',
  reason: '',
  problems: [],
  ...over,
});

class Owner {
  readonly told: string[] = [];
  nowMs = 0;
  readonly warnings = new PodWarnings({
    record: ({ name }, { reason, message }) => void this.told.push(`${name} ${reason} ${message}`),
    patienceMs: 30_000,
    problemPatienceMs: 10_000,
    now: () => this.nowMs,
  });
}

describe('an owner', () => {
  it('is told of a pod that has waited for long, and not of one that waits', () => {
    const owner = new Owner();
    const waiting = status({ state: 'pending', reason: 'pending: no ztunnel is connected' });
    owner.warnings.look([waiting]);
    owner.nowMs = 29_999;
    owner.warnings.look([waiting]);
    expect(owner.told).toEqual([]);
    owner.nowMs = 30_000;
    owner.warnings.look([waiting]);
    owner.warnings.look([waiting]);
    expect(owner.told).toEqual([`a ${NOT_ENROLLED} Sluice: pending: no ztunnel is connected`]);
  });

  it('is not told of a pod that waits again and again, each time for a little', () => {
    const owner = new Owner();
    for (let round = 0; round < 10; round += 1) {
      owner.warnings.look([status({ state: 'pending' })]);
      owner.nowMs += 20_000;
      owner.warnings.look([status({})]);
    }
    expect(owner.told).toEqual([]);
  });

  it('is told what stays wrong with a pod, once for the same words', () => {
    const owner = new Owner();
    const look = (over: Partial<WorkloadStatus>): void => {
      for (let round = 0; round < 3; round += 1) {
        owner.warnings.look([status(over)]);
        owner.nowMs += 5000;
      }
    };
    look({ problems: ['a', 'b'] });
    look({ problems: ['a', 'b'] });
    look({ problems: ['c'] });
    look({ state: 'pending', problems: ['the map is full'] });
    expect(owner.told).toEqual([
      `a ${PARTLY_ENROLLED} Sluice: a; b`,
      `a ${PARTLY_ENROLLED} Sluice: c`,
      `a ${NOT_ENROLLED} Sluice: the map is full`,
    ]);
  });

  it('is not told what passes, such as a ztunnel that is being exchanged', () => {
    const owner = new Owner();
    for (let round = 0; round < 5; round += 1) {
      owner.warnings.look([status({ problems: ['ztunnel does not listen for it'] })]);
      owner.nowMs += 9000;
      owner.warnings.look([status({})]);
    }
    expect(owner.told).toEqual([]);
  });

  it('is not told of a pod that is being deleted, whose network is taken apart', () => {
    const owner = new Owner();
    const look = (): void =>
      owner.warnings.look([status({ problems: ['its loopback is down'] })], (uid) => uid === 'a');
    look();
    owner.nowMs = 60_000;
    look();
    expect(owner.told).toEqual([]);
  });

  it('hears of it again before Kubernetes forgets it', () => {
    const owner = new Owner();
    const wrong = status({ problems: ['a'] });
    for (const at of [0, 10_000, 20_000, 3_610_000]) {
      owner.nowMs = at;
      owner.warnings.look([wrong]);
    }
    expect(owner.told).toHaveLength(2);
  });

  it('hears nothing of pods that are out, of ztunnel’s, and of pods of which nobody knows whose they are', () => {
    const owner = new Owner();
    for (const over of [{ state: 'out' }, { role: 'ztunnel' }, { state: 'unknown' }] as const)
      for (owner.nowMs of [0, 60_000]) owner.warnings.look([status({ ...over, problems: ['something'] })]);
    expect(owner.told).toEqual([]);
  });
});
