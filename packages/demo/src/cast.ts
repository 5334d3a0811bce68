// Who takes part in the demo: two namespaces, pods in both, ztunnel, a kubelet, a host process, another node.
import type { Mode } from './options.js';
import { zdsSocket } from './zds-socket.js';
import type { ClusterState, HostProcess, Pod, StandInZtunnel, TestNode } from '@sluice/testbed';

/** The label by which a namespace's owner opts in. */
export const AMBIENT = { 'istio.io/dataplane-mode': 'ambient' } as const;

/** An excluded port, by the annotation that the pod carries. */
export const EXCLUDED_PORT = 443;

export interface Cast {
  readonly ztunnel: StandInZtunnel;
  /** In the labelled namespace. */
  readonly cart: Pod;
  readonly stock: Pod;
  /** In the namespace without a label. */
  readonly blog: Pod;
  readonly kubelet: HostProcess;
  readonly host: HostProcess;
}

/** The port that another application of shop/cart listens on, to show that any port is captured. */
export const OTHER_PORT = 9000;

export async function assemble(node: TestNode<ClusterState>, mode: Mode): Promise<Cast> {
  const { kubernetes } = node;
  kubernetes.setNamespace('shop', AMBIENT);
  kubernetes.setNamespace('press', {});
  return {
    ztunnel: await node.ztunnel(mode === 'inPod' ? { mode, zdsSocket: zdsSocket(node) } : {}),
    cart: await node.pod({
      name: 'cart',
      namespace: 'shop',
      serve: [80],
      annotations: { 'traffic.sidecar.istio.io/excludeOutboundPorts': String(EXCLUDED_PORT) },
    }),
    stock: await node.pod({ name: 'stock', namespace: 'shop', serve: [80], cgroupStyle: 'systemd' }),
    blog: await node.pod({ name: 'blog', namespace: 'press', serve: [80] }),
    kubelet: await node.kubelet(),
    host: await node.hostProcess(),
  };
}
