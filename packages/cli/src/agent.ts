// Loads the agent's package when a command needs it, so that help and version work without its native parts.
import * as Effect from 'effect/Effect';
import { failureOf } from './exit.js';

/** Fails instead of dying when a native part is not built or lacks a library; the message says what to do. */
export const loadAgent = Effect.tryPromise({ try: () => import('@sluice/ambient-agent'), catch: failureOf });
