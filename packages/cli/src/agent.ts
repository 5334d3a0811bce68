// Loads the agent's package when a command needs it: help and version do without it, and without its native parts.
import * as Effect from 'effect/Effect';
import { failureOf } from './exit.js';

/** Fails, and does not die, where a native part is not built or lacks a library: the message says what to do. */
export const loadAgent = Effect.tryPromise({ try: () => import('@sluice/ambient-agent'), catch: failureOf });
