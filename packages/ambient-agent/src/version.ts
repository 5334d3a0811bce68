// The version that the state file and the API client show, which is the package's.
import { createRequire } from 'node:module';
import * as Schema from 'effect/Schema';

const manifest: unknown = createRequire(import.meta.url)('../package.json');

export const AGENT_VERSION = Schema.decodeUnknownSync(Schema.Struct({ version: Schema.String }))(manifest).version;
