// The agent's configuration with every default filled in: what the rest of the agent reads. settings.ts says what each means.
import type { settings } from './settings.js';

export type AgentConfig = (typeof settings)['Type'];

/** Where ztunnel listens; see docs/architecture.md. */
export type Mode = AgentConfig['mode'];
