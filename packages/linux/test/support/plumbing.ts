// A network namespace of the test's own with a loopback that is up, what iproute2 shows of it, and the rule, the route and the
// place of a filter that the tests put into it.
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { Netns, SystemCallError, type PolicyRoute, type PolicyRule, type TcPlace } from '../../src/index.js';

export const FAMILIES = [4, 6] as const;
export type Family = (typeof FAMILIES)[number];

export const rule = (family: Family): PolicyRule => ({
  family,
  priority: 32764,
  table: 100,
  fwmark: { value: 0x111, mask: 0xfff },
});
export const route = (family: Family): PolicyRoute & { type: 'local' } => ({
  family,
  table: 100,
  type: 'local',
  destination: 'default',
  interface: 'lo',
});
export const place = { name: 'sluice_lo', priority: 100, handle: 1 };
const TC_FILTER = fileURLToPath(new URL('../../build/test/tc-filter', import.meta.url));

/** A namespace with a name of ip-netns(8). */
export class NamedNetns {
  readonly name = `sluice-plumbing-${randomBytes(4).toString('hex')}`;
  readonly path = `/run/netns/${this.name}`;
  readonly open: Netns;

  constructor() {
    execFileSync('ip', ['netns', 'add', this.name]);
    this.open = Netns.open(this.path);
    this.ip('link', 'set', 'lo', 'up');
  }

  /** Runs ip(8) inside. */
  ip(...words: string[]): string {
    return execFileSync('ip', ['-n', this.name, ...words], { encoding: 'utf8' });
  }

  /** Runs tc(8) inside. */
  tc(...words: string[]): string {
    return execFileSync('tc', ['-n', this.name, ...words], { encoding: 'utf8' });
  }

  /** Attaches a filter that does nothing, by the program of native/test/tc_filter.cc. */
  addFilter(name: string, { priority, handle, direction = 'ingress' }: Omit<TcPlace, 'name'>): void {
    const words = [this.path, 'lo', name, String(priority), String(handle)];
    execFileSync(TC_FILTER, direction === 'egress' ? [...words, direction] : words);
  }

  /** A pair of devices, both up unless requested otherwise. */
  addWire(up = true): void {
    this.ip('link', 'add', 'wire', 'type', 'veth', 'peer', 'name', 'far');
    if (up) for (const end of ['wire', 'far']) this.ip('link', 'set', end, 'up');
  }

  rules(family: Family): string[] {
    return this.ip(`-${family}`, 'rule').split('\n').filter(Boolean);
  }

  routes(family: Family, table = 100): unknown {
    try {
      return parsed(this.ip(`-${family}`, '-json', '-details', 'route', 'show', 'table', String(table)));
    } catch {
      return []; // "FIB table does not exist."
    }
  }

  remove(): void {
    this.open.close();
    execFileSync('ip', ['netns', 'delete', this.name]);
  }
}

/** JSON of iproute2, which writes nothing at all for an empty list. */
export function parsed(text: string): unknown {
  return JSON.parse(text === '' ? '[]' : text);
}

export function failureOf(body: () => unknown): SystemCallError {
  try {
    body();
  } catch (error) {
    expect(error).toBeInstanceOf(SystemCallError);
    return error as SystemCallError;
  }
  throw new Error('it did not fail');
}
