// What the programs use of the kernel: it is read from the objects that ship, is in the documents, and is asked of this kernel.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { openObject } from '@sluice/libbpf';
import { requires } from '@sluice/testbed';
import { describe, expect, it } from 'vitest';
import { missingKernelFeatures, objectPaths, usedKernelFeatures } from '../src/index.js';

const need = requires('root', 'bpf');
const ALL = objectPaths({ inbound: true });
/** What the Makefile of packages/libbpf builds from native/test/lacking.bpf.c, which uses what no kernel has. */
const LACKING = fileURLToPath(new URL('../../libbpf/build/test/lacking.bpf.o', import.meta.url));
const DOCUMENT = fileURLToPath(new URL('../../../docs/kernels.md', import.meta.url));

/** Orders '5.10' after '5.9'. */
const inOrder = (a: string, b: string): number => a.localeCompare(b, 'en', { numeric: true });

describe('what is used of the kernel', () => {
  it('has a date for each thing', () => {
    const undated = usedKernelFeatures(ALL).filter(({ since }) => since === undefined);
    expect(undated.map(({ name }) => name)).toEqual([]);
  });

  it('covers every program, helper and map, the inbound ones only where they are loaded', () => {
    const names = usedKernelFeatures(ALL).map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    for (const path of ALL) {
      using object = openObject(path);
      for (const { type } of object.mapDefinitions()) expect(names).toContain(`${type} maps`);
    }
    expect(names).toContain('sk_lookup programs');
    expect(names).toContain('links of sk_lookup programs');
    const outbound = usedKernelFeatures(objectPaths({ inbound: false })).map(({ name }) => name);
    expect(outbound).not.toContain('sk_lookup programs');
    expect(outbound).toContain('helper bpf_set_retval in cgroup_inet4_connect programs');
  });

  it('has the oldest release that has all of it in docs/kernels.md, and everything by name', () => {
    const text = readFileSync(DOCUMENT, 'utf8');
    const newest = usedKernelFeatures(ALL)
      .flatMap(({ since }) => since ?? [])
      .sort(inOrder)
      .at(-1);
    expect(text).toContain(`The programs need Linux ${newest}`);
    const words = usedKernelFeatures(ALL).flatMap(
      ({ name }) => /bpf_\w+|^\w+(?= (?:programs|maps)$)/.exec(name)?.[0] ?? [],
    );
    expect(words.filter((word) => !text.includes(word))).toEqual([]);
  });
});

describe.skipIf(need.skip)(`what this kernel has of it${need.label}`, () => {
  it('is all of it', () => {
    expect(missingKernelFeatures(ALL)).toEqual([]);
  });

  it('is named where it is missing, with the program that needs it', () => {
    expect(missingKernelFeatures([LACKING])).toEqual([
      {
        name: 'helper bpf_sock_ops_cb_flags_set in cgroup_inet4_connect programs',
        since: undefined,
        usedBy: 'misplaced',
        options: 'CONFIG_BPF_SYSCALL, CONFIG_CGROUP_BPF',
      },
      {
        name: 'helper bpf_helper_99999 in cgroup_inet6_connect programs',
        since: undefined,
        usedBy: 'newer',
        options: 'CONFIG_BPF_SYSCALL, CONFIG_CGROUP_BPF',
      },
    ]);
  });
});
