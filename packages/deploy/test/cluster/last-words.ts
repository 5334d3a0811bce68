// What the agents, ztunnel and Kubernetes logged last. It is shown when a test has failed, because the cluster is removed then.
import type { RealCluster } from '@sluice/testbed';
import { NAMESPACE } from './release.js';

const LINES = '40';

export async function tellWhatWasSaid({ kubectl }: RealCluster): Promise<void> {
  const said = async (...args: string[]): Promise<string> => {
    const lines = await kubectl.run(args).catch((error: unknown) => [String(error)]);
    return [`--- kubectl ${args.join(' ')}`, ...lines].join('\n');
  };
  const logs = (label: string): Promise<string> => said('logs', '-n', NAMESPACE, '-l', label, '--tail', LINES);
  const parts = await Promise.all([
    said('get', 'pods', '-A', '-o', 'wide'),
    said('get', 'events', '-A', '--field-selector', 'type=Warning'),
    logs('app.kubernetes.io/name=sluice'),
    logs('app=ztunnel'),
  ]);
  process.stderr.write(`${parts.join('\n')}\n`);
}
