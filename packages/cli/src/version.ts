// The command's version: the package's own.
import { createRequire } from 'node:module';

const manifest = createRequire(import.meta.url)('../package.json') as { version: string };

export const CLI_VERSION: string = manifest.version;
