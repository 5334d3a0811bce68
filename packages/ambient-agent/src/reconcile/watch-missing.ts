// Notices what the kernel tells nobody: that programs are detached or replaced, pins removed, the BPF file system unmounted, sysctls of pods
// set back, the ZDS socket removed. It only looks; a pass puts back what is missing.
import * as Effect from 'effect/Effect';
import { Enforcement } from '../node/enforcement.js';
import type { NodeGuard } from '../node/guard.js';
import { metrics } from '../observe/metrics.js';
import { PodNetns } from '../pod-netns/pod-netns.js';
import { Zds } from '../zds/zds.js';
import { missingNow, type LastLook } from './missing.js';
import { areListenersOther } from './recapture.js';
import type { Reconciler } from './reconciler.js';
import type { LetGo } from './let-go.js';
import type { DoneNetns } from './serve.js';

const EVERY_MS = 1000;

/** A look into a namespace takes some 0.2 ms, so that a full node is looked through in some 30 s. */
const NETNS_AT_ONCE = 8;

export interface MissingWatch {
  readonly last: LastLook;
  readonly reconciler: Pick<Reconciler, 'request'>;
  /** Where a pass learns that it has to look into a namespace, and which listeners it has seen. */
  readonly doneNetns: Pick<DoneNetns, 'disturbed' | 'listeners'>;
  readonly letGo: Pick<LetGo, 'allAgain'>;
}

/** Runs for ever. A look that fails is counted, and the next pass says why. */
export const watchMissing = ({
  last,
  reconciler,
  doneNetns: { disturbed, listeners },
  letGo,
}: MissingWatch): Effect.Effect<never, never, Enforcement | NodeGuard | PodNetns | Zds> =>
  Effect.gen(function* () {
    const podNetns = yield* PodNetns;
    const enforcement = yield* Enforcement;
    const zds = yield* Zds;
    let lostSocket: string | undefined;
    let lostEvents: bigint | undefined;
    /** What the guard could not tell may have been a listener that began late: nobody else lets that go. */
    const areEventsLost = Effect.map(enforcement.counters, ({ events }) => {
      const [before, now] = [lostEvents, events['pod-event-lost']];
      lostEvents = now;
      return before !== undefined && now > before;
    });
    let turn: readonly bigint[] = [];
    /** Each open namespace in its turn. */
    const nextNetns = (): readonly bigint[] => {
      if (turn.length === 0) turn = [...podNetns.changed().keys()];
      const [now, later] = [turn.slice(0, NETNS_AT_ONCE), turn.slice(NETNS_AT_ONCE)];
      turn = later;
      return now.filter((cookie) => podNetns.get(cookie) !== undefined);
    };
    const look = Effect.gen(function* () {
      if (yield* areEventsLost) {
        letGo.allAgain();
        reconciler.request('overrun');
      }
      if (yield* last.take(yield* missingNow)) reconciler.request('missing');
      const lostBefore = lostSocket;
      lostSocket = zds.lostSocket();
      // The status says so.
      if (lostSocket !== lostBefore) reconciler.request('missing');
      if (yield* areListenersOther(listeners)) reconciler.request('listener');
      for (const cookie of nextNetns()) {
        const off = yield* podNetns.switchedOff(cookie);
        if (off.length === 0) continue;
        disturbed.add(cookie);
        reconciler.request('netns');
      }
    }).pipe(
      // The pass that asks the same fails, too, and says why.
      Effect.catch(({ _tag }) =>
        Effect.andThen(
          metrics.error(_tag),
          Effect.sync(() => reconciler.request('missing')),
        ),
      ),
    );
    return yield* Effect.forever(Effect.andThen(Effect.sleep(EVERY_MS), look));
  });
