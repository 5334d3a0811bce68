// The proc connector and the guard each tell of new pods. Each checks the other: a pod that one has shown and the other has not is counted,
// because the next one may be shown by neither.
export const SOURCES = ['process-events', 'guard'] as const;
export type Source = (typeof SOURCES)[number];

export interface Unseen {
  readonly by: Source;
  readonly uid: string;
}

/** Events are read in batches, beside everything else. */
const WITHIN_MS = 10_000;
/** What a source has shown, and no pass has seen, is forgotten after this. */
const REMEMBERED_MS = 60_000;

/** A pod by its UID in cgroupfs. */
export interface SightedPod {
  readonly podUid: string;
  /** Whether it has containers. */
  readonly runs: boolean;
}

export class Sightings {
  /** When a source has shown a pod last. */
  readonly #shown: Readonly<Record<Source, Map<string, number>>> = { 'process-events': new Map(), guard: new Map() };
  /** When a pod was first there; undefined once it has been judged, or if it was there before the sources were. */
  readonly #since = new Map<string, number | undefined>();
  #isFirst = true;

  note(source: Source, podUid: string, nowMs: number): void {
    this.#shown[source].set(podUid, nowMs);
  }

  /**
   * Who has not shown a pod that has been there for some time and runs. Each pod is judged once; those of the first look were there
   * before.
   * @param active the sources that work
   */
  look(pods: readonly SightedPod[], active: ReadonlySet<Source>, nowMs: number): Unseen[] {
    const present = new Set(pods.map(({ podUid }) => podUid));
    for (const uid of this.#since.keys()) if (!present.has(uid)) this.#since.delete(uid);
    for (const source of SOURCES)
      for (const [uid, ms] of this.#shown[source])
        if (!present.has(uid) && nowMs - ms > REMEMBERED_MS) this.#shown[source].delete(uid);
    const unseen: Unseen[] = [];
    for (const { podUid, runs } of pods) {
      if (!this.#since.has(podUid)) this.#since.set(podUid, this.#isFirst ? undefined : nowMs);
      const since = this.#since.get(podUid);
      if (since === undefined || !runs || nowMs - since < WITHIN_MS) continue;
      this.#since.set(podUid, undefined);
      const silent = SOURCES.filter((source) => !this.#shown[source].has(podUid) && active.has(source));
      unseen.push(...silent.map((by) => ({ by, uid: podUid })));
    }
    this.#isFirst = false;
    return unseen;
  }
}
