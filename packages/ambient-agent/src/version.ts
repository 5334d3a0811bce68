// The version that logs, the state file and the command show: the package's own.
import { createRequire } from 'node:module';

const manifest = createRequire(import.meta.url)('../package.json') as { version: string };

export const AGENT_VERSION: string = manifest.version;
