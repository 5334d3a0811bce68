// What the look of every second asks for: a pass when something is missing, cannot be seen or has to be said, and another turn for the
// listeners of all pods when the guard could not tell everything.
import * as Effect from 'effect/Effect';
import * as Fiber from 'effect/Fiber';
import * as Layer from 'effect/Layer';
import * as TestClock from 'effect/testing/TestClock';
import { describe, expect, it } from 'vitest';
import { Enforcement, EnforcementError } from '../src/node/enforcement.js';
import { LastLook } from '../src/reconcile/missing.js';
import { watchMissing } from '../src/reconcile/watch-missing.js';
import { Recorder } from './recorder.js';

/** Looks as often as there are answers: how many events the guard has lost by then, or that the kernel refuses to say. */
async function look(
  lost: readonly (bigint | 'refused')[],
  lostSocket: readonly (string | undefined)[] = [],
): Promise<string[]> {
  const said: string[] = [];
  const recorder = new Recorder();
  const answers = [...lost];
  const sockets = [...lostSocket];
  recorder.lostSocket = () => sockets.shift();
  const counters = Effect.suspend(() => {
    const answer = answers.shift() ?? 0n;
    return answer === 'refused'
      ? Effect.fail(new EnforcementError({ call: 'counters', message: 'refused' }))
      : Effect.succeed({ events: { 'pod-event-lost': answer } } as never);
  });
  const asked = { counters, missing: Effect.succeed([]), listeners: () => Effect.succeed(new Map()) };
  const program = Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(
      watchMissing({
        last: new LastLook(),
        reconciler: { request: (why) => void said.push(why) },
        doneNetns: recorder.done,
        letGo: { allAgain: () => void said.push('let go again') },
      }),
    );
    for (const _answer of lost) yield* TestClock.adjust(1000);
    yield* Fiber.interrupt(fiber);
  });
  const layers = Layer.merge(recorder.layers(), Layer.succeed(Enforcement, Enforcement.of(asked as never)));
  await Effect.runPromise(Effect.provide(Effect.provide(program, layers), TestClock.layer()));
  return said;
}

describe('a look', () => {
  it('asks for nothing while all is as it should be, whatever was lost before', async () => {
    expect(await look([7n, 7n, 7n])).toEqual([]);
  });

  it('lets the listeners of all pods go again when the guard has lost events, once', async () => {
    expect(await look([7n, 8n, 8n, 8n])).toEqual(['let go again', 'overrun']);
  });

  it('that fails asks for a pass, which says why', async () => {
    expect(await look([7n, 'refused', 7n])).toEqual(['missing']);
  });

  it('asks for a pass when the ZDS socket is lost, and when it is back, because the status says so', async () => {
    expect(await look([7n, 7n, 7n], ['lost', 'lost', undefined])).toEqual(['missing', 'missing']);
  });
});
