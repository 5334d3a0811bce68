// The agent's configuration with every default filled in, as the rest of the agent reads it. settings.ts says what each setting means.
import type { settings } from './settings.js';

export type AgentConfig = (typeof settings)['Type'];

/** Where ztunnel listens; see docs/architecture.md. */
export type Mode = AgentConfig['mode'];
