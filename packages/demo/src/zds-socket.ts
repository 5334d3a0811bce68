// Where the agent and ztunnel meet in inPod mode.
import { join } from 'node:path';
import type { TestNode } from '@sluice/testbed';

export const zdsSocket = (node: TestNode): string => join(node.directory, 'ztunnel.sock');
