// Makes a node with an API server and never cleans up by itself; the removal tests interrupt and kill it.
import { TestNode } from '../dist/index.js';

const node = await TestNode.create({ kubernetes: 'api' });
await node.pod({ name: 'a', serve: [80] });
await node.pod({ name: 'b', runtime: 'runc' });
await node.ztunnel();
await node.bpffs();
process.stdout.write(`${node.id}\n`);
setInterval(() => {}, 1000);
