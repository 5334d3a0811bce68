// The kubeconfig of a client of the API double.

/** As JSON, which is YAML. `ca` is PEM. */
export function kubeconfigOf({ url, ca, token }: { url: string; ca: string; token: string }): string {
  const name = 'double';
  const authority = Buffer.from(ca).toString('base64');
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': name,
    clusters: [{ name, cluster: { server: url, 'certificate-authority-data': authority } }],
    users: [{ name, user: { token } }],
    contexts: [{ name, context: { cluster: name, user: name } }],
  });
}
