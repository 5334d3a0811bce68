// Starts a cluster with a pod and never cleans up by itself; the tests interrupt and kill it.
import { applicationDeployment, RealCluster } from '../dist/index.js';

const cluster = await RealCluster.start();
await cluster.kubectl.apply(applicationDeployment({ namespace: 'default', name: 'shop' }));
await cluster.rolledOut('default', 'deployment/shop');
process.stdout.write(`${cluster.id}\n`);
setInterval(() => {}, 1000);
