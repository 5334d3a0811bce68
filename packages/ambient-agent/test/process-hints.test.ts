// Which programs that start are a reason for a pass, and which of them are urgent.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { NodeView } from '../src/node/node-view.js';
import { ProcessHints } from '../src/reconcile/process-hints.js';

const UID = '6a8b0a4e-0000-4000-8000-000000000001';
const OTHER = '6a8b0a4e-0000-4000-8000-000000000002';
const ROOT = '/sys/fs/cgroup';

describe('programs that start in pods', () => {
  let proc: string;
  beforeEach(() => {
    proc = mkdtempSync(join(tmpdir(), 'proc-'));
  });
  afterEach(() => rmSync(proc, { recursive: true }));

  const view = {
    resolver: { hierarchy: { mountPoint: ROOT, mountRoot: '/', nsRoot: '' }, cgroupRoot: ROOT },
    kubeletFinder: { isKubelet: () => false },
    suspect: () => {},
  } as unknown as NodeView;

  const podCgroup = (uid: string): string => `/kubepods/besteffort/pod${uid}`;
  /** A program starts as a process in a pod's container. */
  const exec = (pid: number, uid: string): { kind: 'exec'; pid: number } => {
    mkdirSync(join(proc, String(pid)), { recursive: true });
    writeFileSync(join(proc, String(pid), 'cgroup'), `0::${podCgroup(uid)}/sandbox\n`);
    return { kind: 'exec', pid };
  };

  it('are urgent in a pod that is not enrolled, as long as the runtime may have started them', () => {
    const hints = new ProcessHints(view, proc);
    const said = Array.from({ length: 6 }, (_, i) => [...hints.of([exec(i + 1, UID)])]);
    expect(said.flat()).toEqual(['pod-start', 'pod-start', 'pod-start', 'pod-start', 'pod-process', 'pod-process']);
    // Each pod has its own; and a pod that has gone is forgotten.
    expect([...hints.of([exec(9, OTHER)])]).toEqual(['pod-start']);
    hints.keep(new Set([OTHER]));
    expect([...hints.of([exec(10, UID)])]).toEqual(['pod-start']);
  });

  it('are no reason for a pass in a pod that is enrolled', () => {
    const hints = new ProcessHints(view, proc);
    const directory = `${ROOT}${podCgroup(UID)}/sandbox`;
    hints.settle(new Map([[directory, { podUid: UID, netns: undefined }]]));
    expect([...hints.of([exec(1, UID)])]).toEqual([]);
    expect([...hints.of([exec(2, OTHER)])]).toEqual(['pod-start']);
  });
});
