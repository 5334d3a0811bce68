// Links are looked for while another thread makes some: the kernel gives a link its number before it is one.
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { BpfError, linkIds, linkInfo } from '@sluice/libbpf';
import { blockUntil, Cgroup, cgroup2Root, requires, uniqueName } from '@sluice/testbed';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { linksOfSluice } from '../src/links-of-sluice.js';

const need = requires('root', 'bpf', 'cgroup2');
const OBJECT = fileURLToPath(new URL('../dist/sluice.bpf.o', import.meta.url));
const LIBBPF = new URL('../../libbpf/dist/index.js', import.meta.url).href;
/** How many unfinished links the test itself has to meet. It looks as often as the function under test does. */
const ENOUGH = 50;

/** Attaches a program and lets it go again, as long as the first element of `over` is 0. */
const MAKER = `
  const { parentPort, workerData } = require('node:worker_threads');
  import(workerData.libbpf).then(({ openObject }) => {
    const object = openObject(workerData.object);
    object.load();
    const program = object.program('sluice_connect4');
    parentPort.postMessage('ready');
    while (Atomics.load(workerData.over, 0) === 0) program.attachCgroup(workerData.cgroup).close();
    object.close();
  });`;

const isUnfinished = (id: number): boolean => {
  try {
    linkInfo(id);
  } catch (error) {
    return error instanceof BpfError && error.code === 'EAGAIN';
  }
  return false;
};

describe.skipIf(need.skip)(`links of Sluice${need.label}`, () => {
  let cgroup: Cgroup;
  beforeEach(() => {
    cgroup = new Cgroup(`${cgroup2Root()}/${uniqueName()}`);
  });
  afterEach(() => cgroup.remove());

  it('are found while another link is being made, which counts as absent until then', async () => {
    const over = new Int32Array(new SharedArrayBuffer(4));
    const workerData = { over, libbpf: LIBBPF, object: OBJECT, cgroup: cgroup.path };
    const maker = new Worker(MAKER, { eval: true, workerData });
    await once(maker, 'message');
    let met = 0;
    const found = new Set<string>();
    try {
      blockUntil('unfinished links have been met', () => {
        for (let look = 0; look < 100; look++) {
          met += linkIds().filter(isUnfinished).length;
          for (const { name, cgroupId } of linksOfSluice()) if (cgroupId === cgroup.id) found.add(name);
        }
        return met >= ENOUGH && found.size > 0;
      });
    } finally {
      Atomics.store(over, 0, 1);
      await once(maker, 'exit');
    }
    expect([...found]).toEqual(['sluice_connect4']);
  });
});
