// A testbed node with an API server, the built agent in inPod mode, and a stand-in ztunnel.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { TestNode, type Agent, type KubernetesCluster, type StandInZtunnel } from '@sluice/testbed';

/** The command is started, not imported: what is measured is what users run. */
const COMMAND = fileURLToPath(new URL('../../cli/dist/main.js', import.meta.url));

/** A namespace whose pods are in the mesh. */
export const MESHED = 'meshed';

export interface MeshedNode extends AsyncDisposable {
  readonly node: TestNode<KubernetesCluster>;
  readonly agent: Agent;
  readonly ztunnel: StandInZtunnel;
  readonly zdsSocket: string;
  readonly runDir: string;
  readonly bpffs: string;
  /** Another agent with the same configuration, not started yet; `ready` matches the line that says that it has started. */
  nextAgent(ready?: RegExp): Agent;
}

/** Fulfilled when the agent has taken over, and ztunnel is connected. `more` are further settings of the agent. */
export async function createMeshedNode(more: Readonly<Record<string, unknown>> = {}): Promise<MeshedNode> {
  const node = await TestNode.create({ kubernetes: 'api' });
  try {
    const zdsSocket = join(node.directory, 'ztunnel.sock');
    const config = join(node.directory, 'sluice.yaml');
    const runDir = join(node.directory, 'run');
    const bpffs = await node.bpffs();
    const settings = {
      mode: 'inPod',
      zds: { socket: zdsSocket },
      nodeName: node.name,
      inventory: { source: 'kubernetes', kubeconfig: node.kubeconfig },
      paths: {
        cgroupRoot: node.cgroup.path,
        bpffs,
        runDir,
        hostNetns: node.netns.path,
      },
      guard: { podLogs: node.podLogs },
      log: { format: 'json' },
      ...more,
    };
    writeFileSync(config, JSON.stringify(settings)); // JSON is YAML
    node.kubernetes.setNamespace(MESHED, { 'istio.io/dataplane-mode': 'ambient' });
    const ztunnel = await node.ztunnel({ mode: 'inPod', zdsSocket });
    const command = [process.execPath, COMMAND, 'run', '--config', config];
    const nextAgent = (ready = /"msg":"ready"/): Agent => node.agent({ command, ready });
    const agent = nextAgent();
    await agent.start();
    await ztunnel.event('ready');
    const paths = { zdsSocket, runDir, bpffs };
    return { node, agent, ztunnel, ...paths, nextAgent, [Symbol.asyncDispose]: () => node.close() };
  } catch (error) {
    await node.close();
    throw error;
  }
}
