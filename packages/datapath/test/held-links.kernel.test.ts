// Links that are held open, and what becomes of them when the kernel does not answer about another one.
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { BpfError, openObject, type BpfLink, type BpfObject } from '@sluice/libbpf';
import { Cgroup, cgroup2Root, requires, uniqueName } from '@sluice/testbed';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { HeldLinks } from '../src/held-links.js';
import { OBJECT_PATH } from '../src/layout.js';

const need = requires('root', 'bpf', 'cgroup2');
const NAME = 'sluice_connect4-1';

describe.skipIf(need.skip)(`held links${need.label}`, () => {
  let object: BpfObject;
  let cgroup: Cgroup;
  /** Not of a BPF file system, so that only the held links keep the programs attached. */
  let directory: string;
  let held: HeldLinks;
  let first: BpfLink;
  beforeEach(() => {
    object = openObject(OBJECT_PATH);
    object.load();
    cgroup = new Cgroup(`${cgroup2Root()}/${uniqueName()}`);
    directory = mkdtempSync(join(tmpdir(), 'sluice-held-links-'));
    held = new HeldLinks(directory);
    first = attach();
    held.add(NAME, first, object.program('sluice_connect4').id);
  });
  afterEach(() => {
    held?.close();
    object?.close();
    cgroup?.remove();
    rmSync(directory, { recursive: true });
  });

  const attach = (): BpfLink => object.program('sluice_connect4').attachCgroup(cgroup.path);
  /** One of which the kernel says nothing. */
  const silent = (): BpfLink => {
    const link = attach();
    vi.spyOn(link, 'info').mockImplementation(() => {
      throw new BpfError('no information', { code: 'ENOMEM', errno: constants.errno.ENOMEM, syscall: 'bpf' });
    });
    return link;
  };

  it.each([
    ['is added', (link: BpfLink) => held.add(NAME, link, 1)],
    ['is kept', (link: BpfLink) => held.keep(NAME, 0, 1, () => link)],
  ])('holds what it held, and closes the other one, if that says nothing of itself when it %s', (_when, take) => {
    const other = silent();
    expect(() => take(other)).toThrow('no information');
    expect(held.seen().map(({ held: { link, id } }) => [link, id])).toEqual([[first, first.info().id]]);
    expect(existsSync(`/proc/self/fd/${first.fd}`)).toBe(true);
    expect(() => other.fd).toThrow();
  });
});
