// Opens a reflector that watches, one that waits for a list, and one that backs off; closes them, and has nothing left to
// do: whether this process then ends is the test. Where the server is comes on stdin.
import { text } from 'node:stream/consumers';
import { ApiClient, NAMESPACES, NODES, PODS, Reflector } from '../dist/index.js';

const { server, token, ca } = JSON.parse(await text(process.stdin));
const credentials = async () => ({ headers: { authorization: `Bearer ${token}` }, tls: { ca } });
const client = new ApiClient({ server, credentials, renew() {} });
const trim = ({ metadata }) => metadata.name;
const pods = new Reflector({ client, resource: PODS, fieldSelector: 'spec.nodeName=node-a', trim });
const namespaces = new Reflector({ client, resource: NAMESPACES, trim });
const nodes = new Reflector({ client, resource: NODES, trim });
const refused = new Promise((resolve) => nodes.problems.subscribe(resolve));
await pods.whenSynced();
await refused;
process.stdout.write(`${pods.objects.size} pods\n`);
await Promise.all([pods.close(), namespaces.close(), nodes.close()]);
client.close();
