// The source of credentials, and what happens when they are rotated, wrong or missing.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as Effect from 'effect/Effect';
import { describe, expect, it } from 'vitest';
import { inClusterAccess, kubeConfigAccess, type ApiAccess, type ApiClient } from '../src/index.js';
import { closing, connect, known, onServer, podTemplate, reflect, serviceAccountFiles, startApi } from './harness.js';

const closer = closing();
const list = (client: ApiClient): Promise<unknown> =>
  Effect.runPromise(client.request({ method: 'GET', path: '/api/v1/namespaces' }));

function inCluster(url: string, directory: string): ApiAccess {
  const { hostname, port } = new URL(url);
  return inClusterAccess({
    directory,
    environment: { KUBERNETES_SERVICE_HOST: hostname, KUBERNETES_SERVICE_PORT: port },
  });
}

function fileWith(text: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-kubeconfig-'));
  closer.defer(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'config');
  writeFileSync(path, text);
  return path;
}

describe('in a pod', () => {
  it('uses a rotated token for the next request', async () => {
    const api = await startApi(closer);
    const directory = serviceAccountFiles(closer, api.ca, 'old\n');
    api.allow('old', { name: 'agent' });
    const client = connect(closer, inCluster(api.url, directory));
    await list(client);
    api.revoke('old');
    api.allow('new', { name: 'agent' });
    await expect(list(client)).rejects.toMatchObject({ code: 401, reason: 'Unauthorized' });
    writeFileSync(join(directory, 'token'), 'new');
    await list(client);
  });

  it('keeps a copy right over a rotation, without a list', async () => {
    const api = await startApi(closer, { bookmarkEveryMs: 20 });
    api.create('Pod', podTemplate('p'));
    const directory = serviceAccountFiles(closer, api.ca, 'old');
    api.allow('old', { name: 'agent' });
    const reflector = reflect(closer, connect(closer, inCluster(api.url, directory)));
    await expect.poll(() => api.watches).toHaveLength(1);
    api.revoke('old');
    api.allow('new', { name: 'agent' });
    api.watches[0]?.drop();
    api.create('Pod', podTemplate('q'));
    await expect.poll(() => reflector.counters.failures.get('Unauthorized')).toBeGreaterThan(1);
    expect(reflector.objects.size).toBe(1);
    writeFileSync(join(directory, 'token'), 'new');
    await expect.poll(() => known(reflector)).toEqual(onServer(api, 'Pod'));
    expect(reflector.counters.lists).toBe(1);
  });

  it('goes on with a new authority after a rotation', async () => {
    const first = await startApi(closer);
    const second = await startApi(closer);
    const directory = serviceAccountFiles(closer, first.ca, first.adminToken);
    const client = connect(closer, inCluster(second.url, directory));
    await expect(list(client)).rejects.toMatchObject({ reason: 'Unreachable' });
    writeFileSync(join(directory, 'ca.crt'), second.ca);
    await list(client);
  });

  it('says which file is missing', async () => {
    const access = inClusterAccess({
      directory: '/nonexistent',
      environment: { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '443' },
    });
    expect(access.server).toBe('https://[fd00::1]:443');
    await expect(access.credentials()).rejects.toThrow(
      /service account file \/nonexistent\/(token|ca\.crt): Credentials: ENOENT/,
    );
    expect(() => inClusterAccess({ environment: {} })).toThrow('KUBERNETES_SERVICE_HOST');
  });
});

describe('by a kubeconfig', () => {
  it('reads server, authority and token, and reads them again after a 401', async () => {
    const api = await startApi(closer);
    api.allow('old', { name: 'someone' });
    const path = fileWith(api.kubeconfig('old'));
    const client = connect(closer, await kubeConfigAccess({ path }));
    await list(client);
    api.revoke('old');
    writeFileSync(path, api.kubeconfig());
    await expect(list(client)).rejects.toMatchObject({ code: 401 });
    await list(client);
  });

  it('runs the exec plugin of a user', async () => {
    const api = await startApi(closer);
    const config = JSON.parse(api.kubeconfig()) as { users: unknown[] };
    const status = { token: api.adminToken };
    const answer = JSON.stringify({ apiVersion: 'client.authentication.k8s.io/v1', kind: 'ExecCredential', status });
    const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: 'printf', args: ['%s', answer] };
    config.users = [{ name: 'double', user: { exec } }];
    const path = fileWith(JSON.stringify(config));
    await list(connect(closer, await kubeConfigAccess({ path })));
  });

  it('says what is wrong with a file', async () => {
    await expect(kubeConfigAccess({ path: '/nonexistent' })).rejects.toThrow('kubeconfig /nonexistent: Credentials:');
    await expect(kubeConfigAccess({ path: fileWith('{}') })).rejects.toMatchObject({ reason: 'Credentials' });
  });
});

it('imports the official client only for a kubeconfig', () => {
  // This process has imported the client already, so the test starts another.
  const index = fileURLToPath(new URL('../dist/index.js', import.meta.url));
  const result = spawnSync(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `const loader = 'data:text/javascript,export async function resolve(s,c,n){if(s.includes("client-node"))throw new Error("imported "+s);return n(s,c)}';
       const { register } = await import('node:module'); register(loader);
       const { kubeConfigAccess } = await import(${JSON.stringify(index)});
       console.log('index imported');
       await kubeConfigAccess({ path: '/nonexistent' }).catch((error) => console.log(error.message));`,
    ],
    { encoding: 'utf8' },
  );
  expect(result.stdout).toContain('index imported');
  expect(result.stdout).toContain('imported @kubernetes/client-node');
});
