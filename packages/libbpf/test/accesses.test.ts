// Which program reads and which writes a map, as the instructions have it.
import { describe, expect, it } from 'vitest';
import { mapAccesses } from '../src/index.js';
import { objectPath } from './support/objects.js';
import { messageOf } from './support/places.js';

describe('mapAccesses', () => {
  it.each([
    ['is_there', ['read first']],
    ['counts', ['read first', 'write first']],
    ['counts_atomically', ['read first', 'write first']],
    ['puts_and_deletes', ['write first', 'write second']],
    ['writes_what_was_spilled', ['read second', 'write second']],
    ['writes_one_of_two', ['read first', 'write first', 'read second', 'write second']],
    ['makes_storage', ['write sockets']],
    ['reads_storage', ['read sockets']],
    ['counts_in_new_storage', ['read sockets', 'write sockets']],
    ['reports', ['write records']],
  ])('finds what %s does', (name, expected) => {
    const all = mapAccesses(objectPath('accesses'));
    const found = all.filter(({ program }) => program === name).map(({ map, access }) => `${access} ${map}`);
    expect(found).toEqual(expected);
  });

  it.each([
    ['called', 'calls calls a function that was not inlined'],
    ['pushed', 'pushes gives the map values to bpf_map_push_elem, of which it is not known what it does'],
  ])('refuses what it cannot follow: %s', (object, words) => {
    expect(messageOf(() => mapAccesses(objectPath(object)))).toContain(words);
  });
});
