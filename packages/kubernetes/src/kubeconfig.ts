// Access by a kubeconfig file, through the official client's KubeConfig: contexts, exec plugins, OIDC, proxies.
// The client is imported only when it is needed, because it costs half a second and 75 to 90 MB (docs/decisions/kubernetes-api.md).
import type { RequestOptions } from 'node:https';
import type { ApiAccess, Credentials } from './access.js';
import { ApiError, wordsOf } from './api-error.js';

export interface KubeConfigOptions {
  /** If absent, KUBECONFIG, then ~/.kube/config. */
  readonly path?: string;
}

/** @throws ApiError `Credentials` when there is no usable file, or when the client that reads it is not installed (as in the image) */
export async function kubeConfigAccess({ path }: KubeConfigOptions = {}): Promise<ApiAccess> {
  const unusable = (message: string, cause: unknown): ApiError =>
    new ApiError(`kubeconfig ${path ?? '(default)'}`, { reason: 'Credentials', message, cause });
  const { KubeConfig } = await import('@kubernetes/client-node').catch((cause: unknown) => {
    const remedy = "in the container image only a pod's service account works";
    throw unusable(`the client that reads such files is not installed here: ${wordsOf(cause)}; ${remedy}`, cause);
  });
  const load = (): InstanceType<typeof KubeConfig> => {
    try {
      const config = new KubeConfig();
      if (path === undefined) config.loadFromDefault();
      else config.loadFromFile(path);
      if (config.getCurrentCluster() === null) throw new Error('current-context names no cluster of the file');
      return config;
    } catch (cause) {
      throw unusable(wordsOf(cause), cause);
    }
  };
  let config: InstanceType<typeof KubeConfig> | undefined = load();
  const server = config.getCurrentCluster()?.server ?? '';
  return {
    server,
    async credentials() {
      // KubeConfig reads its file once, and a token file at most once a minute, so a new one is made after a 401.
      config ??= load();
      const options: RequestOptions = {};
      try {
        await config.applyToHTTPSOptions(options);
      } catch (cause) {
        throw unusable(wordsOf(cause), cause);
      }
      return credentialsOf(options, config.getCurrentCluster()?.proxyUrl !== undefined);
    },
    renew() {
      config = undefined;
    },
  };
}

const isPem = (value: unknown): value is string | Buffer => typeof value === 'string' || Buffer.isBuffer(value);

function credentialsOf(options: RequestOptions, byProxy: boolean): Credentials {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(options.headers ?? {})) headers[name.toLowerCase()] = String(value).trim();
  if (typeof options.auth === 'string')
    headers['authorization'] = `Basic ${Buffer.from(options.auth).toString('base64')}`;
  const { ca, cert, key } = options;
  const tls = {
    ...(isPem(ca) && { ca }),
    ...(isPem(cert) && { cert }),
    ...(isPem(key) && { key }),
    ...(options.servername !== undefined && { servername: options.servername }),
    ...(options.rejectUnauthorized !== undefined && { rejectUnauthorized: options.rejectUnauthorized }),
  };
  return byProxy && typeof options.agent === 'object' ? { headers, tls, proxy: options.agent } : { headers, tls };
}
