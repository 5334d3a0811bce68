// The API double as a program: says where it is in one line of JSON, then does what lines of JSON on stdin tell it.
//   {"id":1,"call":"create","arguments":["Pod",{...}]}  ->  {"id":1,"result":{...}} or {"id":1,"error":"..."}
import { createInterface } from 'node:readline';
import * as Schema from 'effect/Schema';
import { parseLine } from '../json-line.js';
import { KubernetesApi } from './api-server.js';
import { control } from './control.js';

const Call = Schema.Struct({ id: Schema.Int, call: Schema.String, arguments: Schema.Unknown });

const port = Number(process.argv[2] ?? '0');
const api = await KubernetesApi.start({ port });
const say = (value: unknown): void => {
  process.stdout.write(`${JSON.stringify(value)}\n`);
};
say({ url: api.url, ca: api.ca, token: api.adminToken });

const input = createInterface({ input: process.stdin });
for await (const line of input) {
  const { id, call, arguments: given } = parseLine(Call, line);
  try {
    say({ id, result: (await control(api, call, given)) ?? null });
  } catch (error) {
    say({ id, error: error instanceof Error ? error.message : String(error) });
  }
}
// The process that started this one is gone.
await api.close();
