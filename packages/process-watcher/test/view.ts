// A consumer of processes(): it adds up the changes, and complains when they do not fit together.
import { readdirSync } from 'node:fs';
import type { ProcessChange } from '../src/index.js';
import { lookAt } from '../src/scan.js';

export class View {
  readonly live = new Map<number, bigint>();
  readonly counts = { started: 0, exec: 0, exited: 0, synced: 0, overrun: 0, synthetic: 0 };
  readonly contradictions: string[] = [];
  synced = false;

  take(change: ProcessChange): void {
    this.counts[change.kind] += 1;
    if (change.kind === 'synced') this.synced = true;
    if (change.kind === 'overrun') this.synced = false;
    if (!('process' in change)) return;
    if (change.synthetic) this.counts.synthetic += 1;
    const { pid, startTime } = change.process;
    const known = this.live.get(pid);
    if (change.kind === 'started') {
      if (known !== undefined) this.contradictions.push(`${pid} started twice`);
      this.live.set(pid, startTime);
      return;
    }
    if (known !== startTime)
      this.contradictions.push(`${pid} ${change.kind}, started at ${startTime}, known: ${known}`);
    if (change.kind === 'exited') this.live.delete(pid);
  }

  /** "pid startTime" of each process, sorted. */
  identities(): string[] {
    return [...this.live].map(([pid, startTime]) => `${pid} ${startTime}`).sort();
  }
}

/** The same for /proc itself. */
export function procIdentities(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      const seen = lookAt('/proc', Number(name));
      return seen === undefined ? [] : `${seen.pid} ${seen.startTime}`;
    })
    .sort();
}

/** How the view differs from /proc, without processes that came or went during the comparison. */
export async function difference(view: View): Promise<{ missing: string[]; extra: string[] }> {
  const before = procIdentities();
  // What happened before the first look should have arrived after this time; if it takes longer, the caller asks again.
  await new Promise((resolve) => setTimeout(resolve, 100));
  const now = new Set(view.identities());
  const after = new Set(procIdentities());
  const ever = new Set([...before, ...after]);
  return {
    missing: before.filter((identity) => after.has(identity) && !now.has(identity)),
    extra: [...now].filter((identity) => !ever.has(identity)),
  };
}
