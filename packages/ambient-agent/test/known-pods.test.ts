// A pod whose object is gone stays what it was while its cgroup exists, across restarts, too.
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as Effect from 'effect/Effect';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { KnownPods, podsFile } from '../src/inventory/known-pods.js';
import { inventory, namespaces, pod } from './world.js';

describe('known pods', () => {
  let runDir: string;
  beforeEach(() => {
    runDir = mkdtempSync(join(tmpdir(), 'sluice-known-pods-'));
  });
  afterEach(() => rmSync(runDir, { recursive: true }));
  const open = async (): Promise<KnownPods> => {
    const file = podsFile(runDir);
    return new KnownPods(file, await Effect.runPromise(file.recall));
  };
  const names = ({ pods, namespaces: spaces }: ReturnType<typeof inventory>): unknown => ({
    pods: [...pods.keys()],
    namespaces: [...spaces.keys()],
  });
  const cart = pod('cart', { labels: { app: 'cart' } });

  it('stay in the inventory with their namespaces while they run, and no longer', async () => {
    const known = await open();
    const whole = inventory([cart]);
    expect(known.complete(whole, new Set(['cart']))).toEqual(whole);
    const empty = inventory([], []);
    expect(names(known.complete(empty, new Set(['cart'])))).toEqual({ pods: ['cart'], namespaces: ['shop'] });
    expect(names(known.complete(empty, new Set()))).toEqual({ pods: [], namespaces: [] });
    expect(names(known.complete(empty, new Set(['cart'])))).toEqual({ pods: [], namespaces: [] });
  });

  it('are what their objects say as long as there are any', async () => {
    const known = await open();
    known.complete(inventory([cart]), new Set(['cart']));
    const moved = inventory([{ ...cart, labels: {} }], [{ name: 'shop', labels: {} }]);
    expect(known.complete(moved, new Set(['cart']))).toEqual(moved);
    const gone = known.complete(inventory([], namespaces), new Set(['cart']));
    expect(gone.pods.get('cart')?.labels).toEqual({});
    expect(gone.namespaces.get('shop')?.labels).not.toEqual({});
  });

  it('are static pods, too, whose cgroup has another UID than the object, until another object shows the same', async () => {
    const hash = '0123456789abcdef0123456789abcdef';
    const annotations = { 'kubernetes.io/config.mirror': hash, 'kubernetes.io/config.hash': hash };
    const mirror = pod('mirror', { annotations });
    const known = await open();
    known.complete(inventory([mirror]), new Set([hash]));
    expect(names(known.complete(inventory([], []), new Set([hash])))).toEqual({
      pods: ['mirror'],
      namespaces: ['shop'],
    });
    const next = await open();
    expect([...next.complete(inventory([], []), new Set([hash])).pods.keys()]).toEqual(['mirror']);
    const another = inventory([pod('another', { annotations })]);
    expect([...next.complete(another, new Set([hash])).pods.keys()]).toEqual(['another']);
    expect([...next.complete(inventory([], []), new Set([hash])).pods.keys()]).toEqual(['another']);
    expect([...next.complete(inventory([], []), new Set()).pods.keys()]).toEqual([]);
  });

  it('are known to the next agent, and the file is not written for what changes all the time', async () => {
    const first = await open();
    first.complete(inventory([cart]), new Set(['cart']));
    const { ino } = statSync(podsFile(runDir).path, { bigint: true });
    first.complete(inventory([{ ...cart, isReady: false, isDeleting: true, phase: 'Failed' }]), new Set(['cart']));
    expect(statSync(podsFile(runDir).path, { bigint: true }).ino).toBe(ino);
    const next = await open();
    expect(next.complete(inventory([], []), new Set(['cart'])).pods.get('cart')?.labels).toEqual({ app: 'cart' });
  });
});
