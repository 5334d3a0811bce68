// Looks for an API server as `kubectl` and client-go do when no server is given.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { ApiAccess } from './access.js';
import { inClusterAccess, SERVICE_ACCOUNT_DIRECTORY } from './in-cluster.js';
import { kubeConfigAccess } from './kubeconfig.js';

/**
 * Uses the given kubeconfig file, else KUBECONFIG, else the service account of the pod in which this runs, else
 * ~/.kube/config. @throws ApiError `Credentials`
 */
export async function openAccess(kubeconfig?: string): Promise<ApiAccess> {
  if (kubeconfig !== undefined) return kubeConfigAccess({ path: kubeconfig });
  const inCluster = process.env['KUBERNETES_SERVICE_HOST'] && existsSync(join(SERVICE_ACCOUNT_DIRECTORY, 'token'));
  return inCluster && !process.env['KUBECONFIG'] ? inClusterAccess() : kubeConfigAccess();
}
