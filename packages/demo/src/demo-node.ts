// The demo's node, with what is wanted in a directory or behind an API server.
import { TestNode, type KubernetesCluster, type KubernetesDirectory } from '@sluice/testbed';
import type { Source } from './options.js';

export type DemoNode = TestNode<KubernetesDirectory | KubernetesCluster>;

export function createNode(source: Source): Promise<DemoNode> {
  return TestNode.create({ kubernetes: source === 'kubernetes' ? 'api' : 'directory' });
}
