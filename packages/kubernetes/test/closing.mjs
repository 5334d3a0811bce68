// Opens a reflector that watches, one that waits for a list, and one that backs off, and closes them. Then nothing is left to
// do, and the test is whether this process ends. The address of the server comes on stdin.
import { text } from 'node:stream/consumers';
import * as Deferred from 'effect/Deferred';
import * as Effect from 'effect/Effect';
import { ApiClient, NAMESPACES, NODES, PODS, reflect } from '../dist/index.js';

const { server, token, ca } = JSON.parse(await text(process.stdin));
const credentials = async () => ({ headers: { authorization: `Bearer ${token}` }, tls: { ca } });
const trim = ({ metadata }) => metadata.name;
const program = Effect.gen(function* () {
  const client = yield* ApiClient.open({ server, credentials, renew() {} });
  const refused = yield* Deferred.make();
  const onNews = ({ kind }) => (kind === 'problem' ? Deferred.succeed(refused, undefined) : Effect.void);
  const pods = yield* reflect({ client, resource: PODS, fieldSelector: 'spec.nodeName=node-a', trim });
  yield* reflect({ client, resource: NAMESPACES, trim });
  yield* reflect({ client, resource: NODES, trim, onNews });
  yield* pods.synced;
  yield* Deferred.await(refused);
  process.stdout.write(`${pods.objects.size} pods\n`);
});
await Effect.runPromise(Effect.scoped(program));
