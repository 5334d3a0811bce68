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
}

/** Fulfilled when the agent has taken over, and ztunnel is connected. */
export async function createMeshedNode(): Promise<MeshedNode> {
  const node = await TestNode.create({ kubernetes: 'api' });
  try {
    const zdsSocket = join(node.directory, 'ztunnel.sock');
    const config = join(node.directory, 'sluice.yaml');
    const settings = {
      mode: 'inPod',
      zds: { socket: zdsSocket },
      nodeName: node.name,
      inventory: { source: 'kubernetes', kubeconfig: node.kubeconfig },
      paths: {
        cgroupRoot: node.cgroup.path,
        bpffs: await node.bpffs(),
        runDir: join(node.directory, 'run'),
        hostNetns: node.netns.path,
      },
      log: { format: 'json' },
    };
    writeFileSync(config, JSON.stringify(settings)); // JSON is YAML
    node.kubernetes.setNamespace(MESHED, { 'istio.io/dataplane-mode': 'ambient' });
    const ztunnel = await node.ztunnel({ mode: 'inPod', zdsSocket });
    const command = [process.execPath, COMMAND, 'run', '--config', config];
    const agent = node.agent({ command, ready: /"ready"/ });
    await agent.start();
    await ztunnel.event('ready');
    return { node, agent, ztunnel, [Symbol.asyncDispose]: () => node.close() };
  } catch (error) {
    await node.close();
    throw error;
  }
}
