// A pass that found nothing and changed nothing.
import type { PassResult } from '../src/index.js';

export const nothingDone: PassResult = {
  statuses: [],
  ztunnels: { pods: [], active: undefined, ipv4: undefined, ipv6: undefined, problems: [] },
  kubelets: [],
  plan: new Map(),
  known: new Map(),
  sighted: [],
  guard: [],
  hostNetnsCookie: 1n,
  connections: [],
  repaired: [],
  missing: [],
  problems: [],
  applied: { written: 0, removed: 0, failures: [], wanted: {} },
  failureKinds: [],
  isIncomplete: false,
  dueMs: undefined,
};
