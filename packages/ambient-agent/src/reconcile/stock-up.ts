// Does ahead what each pod that starts would wait for otherwise.
import * as Effect from 'effect/Effect';
import { Enforcement } from '../node/enforcement.js';
import { metrics } from '../observe/metrics.js';

/** A pass has its turn in between. */
const BETWEEN_MS = 20;
/** How often it is looked whether pods have used something up. */
const LOOK_AGAIN_MS = 200;

/** Runs for ever. What cannot be done is counted, and tried again by the pod that needs it, whose problem says why. */
export const stockUp = Effect.gen(function* () {
  const enforcement = yield* Enforcement;
  const once = enforcement.stockUp.pipe(Effect.catch(({ _tag }) => Effect.as(metrics.error(_tag), true)));
  return yield* Effect.forever(Effect.flatMap(once, (isEnough) => Effect.sleep(isEnough ? LOOK_AGAIN_MS : BETWEEN_MS)));
});
