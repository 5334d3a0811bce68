// Listings as kernfs may give them while siblings are removed: with entries twice, and with live ones left out.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { KnownDirectories, type ListDirectories } from '../src/known-directories.js';
import { walkPods } from '../src/tree.js';
import { subdirectories } from '../src/vanishing.js';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'sluice-known-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const uid = (letter: string): string => `${letter.repeat(8)}-1111-2222-3333-444444444444`;
const pathOf = (letter: string): string => join(directory, `kubepods/besteffort/pod${uid(letter)}`);
const containerOf = (letter: string): string => join(pathOf(letter), '2'.repeat(64));
const make = (...letters: string[]): void => {
  for (const letter of letters) mkdirSync(containerOf(letter), { recursive: true });
};
const remove = (letter: string): void => rmSync(pathOf(letter), { recursive: true });

/** One walk, with listings that leave some names out and repeat others. */
function walk(known: KnownDirectories): { pods: string[]; containers: number } {
  const { list, completed } = known.walk();
  const pods = [...walkPods(directory, 0, '', list)];
  completed();
  return { pods: pods.map(({ podUid }) => podUid).sort(), containers: pods.flatMap((pod) => pod.containers).length };
}

describe('KnownDirectories', () => {
  it('finds what a listing leaves out, and nothing twice', () => {
    make('a', 'b', 'c');
    let spoil: (names: readonly string[]) => readonly string[] = (names) => names;
    const known = new KnownDirectories((path) => {
      const names = subdirectories(path);
      return names === undefined ? undefined : spoil(names);
    });
    const all = { pods: [uid('a'), uid('b'), uid('c')], containers: 3 };
    spoil = (names) => [...names, ...names];
    expect(walk(known)).toEqual(all);
    // The whole tree seems empty, without pods or containers.
    spoil = () => [];
    expect(walk(known)).toEqual(all);
    // It holds later, too: what was found by its name is remembered like the rest.
    remove('b');
    expect(walk(known)).toEqual({ pods: [uid('a'), uid('c')], containers: 2 });
    spoil = (names) => names;
    make('d');
    expect(walk(known)).toEqual({ pods: [uid('a'), uid('c'), uid('d')], containers: 3 });
  });

  it('forgets nothing because of a walk that ended early', () => {
    make('a', 'b');
    let isBlind = false;
    const known = new KnownDirectories((path) => (isBlind ? [] : subdirectories(path)));
    walk(known);
    isBlind = true;
    for (const _ of walkPods(directory, 0, '', known.walk().list)) break;
    expect(walk(known).pods).toEqual([uid('a'), uid('b')]);
  });

  it('knows nothing of a directory that is gone, whatever was in it', () => {
    make('a');
    const known = new KnownDirectories();
    walk(known);
    const parent = join(directory, 'kubepods/besteffort');
    rmSync(parent, { recursive: true });
    expect(known.walk().list(parent)).toBeUndefined();
    expect(walk(known).pods).toEqual([]);
  });

  it('answers with what is there, however wrong the listings are, once each name has been seen', () => {
    const names = fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'), { maxLength: 8 });
    fc.assert(
      fc.property(fc.array(fc.record({ there: names, hidden: names, twice: names }), { maxLength: 8 }), (steps) => {
        let listing: ReturnType<ListDirectories> = [];
        let there = new Set<string>();
        const known = new KnownDirectories(
          () => listing,
          (path) => there.has(path.slice('/x/'.length)),
        );
        let before = new Set<string>();
        for (const step of steps) {
          there = new Set(step.there);
          // The kernel may hide a new name, too: then the next walk sees it.
          listing = step.there
            .filter((name) => !step.hidden.includes(name))
            .flatMap((name) => (step.twice.includes(name) ? [name, name] : [name]));
          const { list, completed } = known.walk();
          const got = list('/x') ?? [];
          completed();
          const expected = step.there.filter((name) => !step.hidden.includes(name) || before.has(name));
          expect([...got].sort()).toEqual(expected.sort());
          before = new Set(expected);
        }
      }),
    );
  });
});
