// What a user without privileges reads. Drops the effective user id in this process, which runs only this test file.
import { requires } from '@sluice/testbed';
import { afterEach, describe, expect, it } from 'vitest';
import { openObject, queryCgroup } from '../src/index.js';
import { objectPath } from './support/objects.js';
import { makeCgroup, messageOf } from './support/places.js';

const NOBODY = 65534;
const need = requires('root', 'bpf', 'cgroup2');

describe.skipIf(need.skip)(`without privileges${need.label}`, () => {
  afterEach(() => process.seteuid?.(0));

  it('loading says which capabilities are missing', () => {
    using object = openObject(objectPath('hooks'));
    process.seteuid?.(NOBODY);
    const message = messageOf(() => object.load());
    expect(message).toContain(`cannot load ${objectPath('hooks')}: Operation not permitted (EPERM)`);
    expect(message).toContain('this process lacks CAP_BPF and CAP_NET_ADMIN. Run it as root, or give it these');
  });

  it('querying says so too', () => {
    const cgroup = makeCgroup();
    try {
      process.seteuid?.(NOBODY);
      expect(messageOf(() => queryCgroup(cgroup.path, 'connect4'))).toContain(
        `cannot query connect4 of cgroup ${cgroup.path}: Operation not permitted (EPERM): this process lacks CAP_BPF`,
      );
    } finally {
      process.seteuid?.(0);
      cgroup.remove();
    }
  });
});
