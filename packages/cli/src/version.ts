// The command's version: the package's own.
import { createRequire } from 'node:module';
import * as Schema from 'effect/Schema';

const manifest: unknown = createRequire(import.meta.url)('../package.json');

export const CLI_VERSION = Schema.decodeUnknownSync(Schema.Struct({ version: Schema.String }))(manifest).version;
