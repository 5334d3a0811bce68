// Where the agent and ztunnel meet in inPod mode.
import { join } from 'node:path';
import type { ClusterState, TestNode } from '@sluice/testbed';

export const zdsSocket = (node: TestNode<ClusterState>): string => join(node.directory, 'ztunnel.sock');
