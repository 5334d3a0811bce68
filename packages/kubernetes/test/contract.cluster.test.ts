// Runs the contract against a real API server.
import { RealCluster, requires } from '@sluice/testbed';
import { afterAll, describe } from 'vitest';

const need = requires('root', 'cgroup2', 'netns', 'kubernetes');

describe.skipIf(need.skip)(`the contract, of a real cluster${need.label}`, async () => {
  if (need.skip) return;
  const cluster = await RealCluster.start({ node: false });
  afterAll(() => cluster.close());
  // A server that was never restarted has seen every revision, and keeps all of them for a while.
  await cluster.controlPlane.stopApi();
  await cluster.controlPlane.startApi();
  process.env['SLUICE_API_URL'] = cluster.controlPlane.server;
  process.env['SLUICE_API_TOKEN'] = cluster.controlPlane.token;
  process.env['SLUICE_API_CA'] = cluster.controlPlane.ca;
  await import('./contract.test.js');
});
