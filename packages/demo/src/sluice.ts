// The agent on the demo's node: the real command, as its users run it.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { KubernetesDirectory, runToEnd, type Agent } from '@sluice/testbed';
import { agentKubeconfig } from './agent-access.js';
import type { DemoNode } from './demo-node.js';
import type { Mode } from './options.js';
import { zdsSocket } from './zds-socket.js';

/** The command is started, not imported: the demo sees what a user sees. */
const COMMAND = fileURLToPath(new URL('../../cli/dist/main.js', import.meta.url));

export interface Sluice {
  readonly agent: Agent;
  /** Runs `sluice ...` with the demo's configuration and returns its lines. */
  run(...args: string[]): Promise<string[]>;
}

/** Writes the configuration; the agent is not started yet. */
export async function sluiceOn(node: DemoNode, mode: Mode): Promise<Sluice> {
  const config = join(node.directory, 'sluice.yaml');
  const bpffs = await node.bpffs();
  // JSON is YAML.
  writeFileSync(
    config,
    JSON.stringify({
      mode,
      ...(mode === 'inPod' ? { zds: { socket: zdsSocket(node) } } : {}),
      nodeName: node.name,
      inventory: await inventory(node),
      paths: {
        cgroupRoot: node.cgroup.path,
        bpffs,
        runDir: join(node.directory, 'run'),
        hostNetns: node.netns.path,
      },
      guard: { podLogs: node.podLogs },
      log: { format: 'json' },
    }),
  );
  const command = [process.execPath, COMMAND];
  return {
    agent: node.agent({ command: [...command, 'run', '--config', config], ready: /"ready"/ }),
    run: (...args) => runToEnd([...command, ...args, '--config', config]),
  };
}

async function inventory({ kubernetes }: DemoNode): Promise<Record<string, string>> {
  if (kubernetes instanceof KubernetesDirectory) return { source: 'static', directory: kubernetes.path };
  return { source: 'kubernetes', kubeconfig: await agentKubeconfig(kubernetes) };
}
