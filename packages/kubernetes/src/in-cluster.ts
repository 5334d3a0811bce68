// Access from a pod by the service account's files, as in client-go's rest.InClusterConfig.
import { readFile } from 'node:fs/promises';
import { isIPv6 } from 'node:net';
import { join } from 'node:path';
import type { ApiAccess } from './access.js';
import { ApiError, wordsOf } from './api-error.js';

/** Where the kubelet mounts the service account's volume. */
export const SERVICE_ACCOUNT_DIRECTORY = '/var/run/secrets/kubernetes.io/serviceaccount';

export interface InClusterOptions {
  readonly directory?: string;
  /** The variables KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are read. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

/** Nothing is cached, because a projected token is replaced on disk. */
export function inClusterAccess(options: InClusterOptions = {}): ApiAccess {
  const { directory = SERVICE_ACCOUNT_DIRECTORY, environment = process.env } = options;
  const host = environment['KUBERNETES_SERVICE_HOST'];
  const port = environment['KUBERNETES_SERVICE_PORT'];
  if (!host || !port)
    throw new ApiError('Kubernetes API access', {
      reason: 'Credentials',
      message:
        'KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set; run in a pod, or give a kubeconfig file',
    });
  const read = async (name: string): Promise<string> => {
    const path = join(directory, name);
    try {
      return await readFile(path, 'utf8');
    } catch (cause) {
      throw new ApiError(`service account file ${path}`, {
        reason: 'Credentials',
        message: `${wordsOf(cause)}; is automountServiceAccountToken off?`,
        cause,
      });
    }
  };
  return {
    server: `https://${isIPv6(host) ? `[${host}]` : host}:${port}`,
    async credentials() {
      const [token, ca] = await Promise.all([read('token'), read('ca.crt')]);
      return { headers: { authorization: `Bearer ${token.trim()}` }, tls: { ca } };
    },
    renew() {},
  };
}
