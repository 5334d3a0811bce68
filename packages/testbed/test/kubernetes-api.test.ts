// The API double by itself: what the tests of its clients rely on.
import { Agent, request } from 'node:https';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { KubernetesApi, KubernetesApiProcess, type PolicyRule } from '../src/index.js';

interface Answer {
  readonly code: number;
  readonly body: {
    readonly message?: string;
    readonly reason?: string;
    readonly metadata: { readonly resourceVersion?: string; readonly [field: string]: unknown };
    readonly items?: readonly { readonly metadata: { readonly name: string } }[];
    readonly [field: string]: unknown;
  };
}

const agent = new Agent({ keepAlive: false });

function ask(
  api: { readonly url: string; readonly ca: string },
  path: string,
  options: { token?: string; method?: string; body?: unknown; type?: string } = {},
): Promise<Answer> {
  const { token = 'admin', method = 'GET', body, type = 'application/json' } = options;
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': type };
    const sent = request(`${api.url}${path}`, { method, headers, ca: api.ca, agent }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.on('error', reject);
      response.on('end', () => resolve({ code: response.statusCode ?? 0, body: JSON.parse(text) as Answer['body'] }));
    });
    sent.on('error', reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

describe('the API double', () => {
  let api: KubernetesApi;
  beforeEach(async () => {
    api = await KubernetesApi.start();
  });
  afterEach(() => api.close());

  const rule = (more: Partial<PolicyRule>): PolicyRule => ({
    apiGroups: [''],
    resources: ['pods'],
    verbs: ['get'],
    ...more,
  });
  const named = '/api/v1/namespaces/shop/pods/p';
  it.each([
    ['nothing', [], named, 'GET', 403],
    ['its verb', [rule({})], named, 'GET', 200],
    ['another verb', [rule({ verbs: ['list', 'watch'] })], named, 'GET', 403],
    ['another group', [rule({ apiGroups: ['apps'] })], named, 'GET', 403],
    ['everything', [rule({ apiGroups: ['*'], resources: ['*'], verbs: ['*'] })], `${named}/status`, 'PATCH', 200],
    ['the resource, not its status', [rule({ verbs: ['patch'] })], `${named}/status`, 'PATCH', 403],
    ['the status alone', [rule({ resources: ['pods/status'], verbs: ['patch'] })], `${named}/status`, 'PATCH', 200],
    ['any status', [rule({ resources: ['*/status'], verbs: ['patch'] })], `${named}/status`, 'PATCH', 200],
    ['the status, not the resource', [rule({ resources: ['pods/status'], verbs: ['patch'] })], named, 'PATCH', 403],
    ['its name', [rule({ resourceNames: ['p'] })], named, 'GET', 200],
    ['another name', [rule({ resourceNames: ['q'] })], named, 'GET', 403],
    ['a name, for a list', [rule({ verbs: ['list'], resourceNames: ['p'] })], '/api/v1/pods', 'GET', 403],
    [
      'a name, for a list of it',
      [rule({ verbs: ['list'], resourceNames: ['p'] })],
      '/api/v1/pods?fieldSelector=metadata.name%3Dp',
      'GET',
      200,
    ],
    ['its namespace', [rule({ namespaces: ['shop'] })], named, 'GET', 200],
    ['another namespace', [rule({ namespaces: ['other'] })], named, 'GET', 403],
    ['a namespace, for all', [rule({ verbs: ['list'], namespaces: ['shop'] })], '/api/v1/pods', 'GET', 403],
  ] as const)('allows by rules: %s', async (_name, rules, path, method, code) => {
    api.create('Pod', { metadata: { name: 'p', namespace: 'shop' } });
    api.allow('t', { name: 'someone', rules });
    const patching = method === 'PATCH' ? { body: {}, type: 'application/merge-patch+json' } : {};
    expect((await ask(api, path, { token: 't', method, ...patching })).code).toBe(code);
  });

  it("refuses with the real server's texts", async () => {
    api.allow('t', { name: 'system:serviceaccount:a:b', rules: [] });
    const message = async (path: string, options: Parameters<typeof ask>[2] = {}): Promise<string | undefined> =>
      (await ask(api, path, { token: 't', ...options })).body.message;
    const user = 'User "system:serviceaccount:a:b" cannot';
    expect(await message('/api/v1/pods?watch=true')).toBe(
      `pods is forbidden: ${user} watch resource "pods" in API group "" at the cluster scope`,
    );
    expect(await message('/apis/apps/v1/namespaces/n/daemonsets/d')).toBe(
      `daemonsets.apps "d" is forbidden: ${user} get resource "daemonsets" in API group "apps" in the namespace "n"`,
    );
    expect(await message('/api/v1/namespaces/n')).toBe(
      `namespaces "n" is forbidden: ${user} get resource "namespaces" in API group "" in the namespace "n"`,
    );
    expect(await message('/api/v1/pods', { token: 'x' })).toBe('Unauthorized');
    expect(await message('/api/v1/nonsense', { token: 'admin' })).toBe(
      'the server could not find the requested resource',
    );
  });

  it.each([
    ['a=1', ['x', 'z']],
    ['a!=1', ['y', 'w']],
    ['a in (1, 2)', ['x', 'y', 'z']],
    ['a notin (1)', ['y', 'w']],
    ['b', ['z']],
    ['!b,a==1', ['x']],
    ['', ['x', 'y', 'z', 'w']],
  ])('selects by labels: %s', async (selector, names) => {
    const labels: Record<string, Record<string, string>> = {
      x: { a: '1' },
      y: { a: '2' },
      z: { a: '1', b: '' },
      w: {},
    };
    for (const [name, of] of Object.entries(labels))
      api.create('Pod', { metadata: { name, namespace: 'n', labels: of } });
    const { body } = await ask(api, `/api/v1/pods?labelSelector=${encodeURIComponent(selector)}`);
    expect(new Set(body.items?.map(({ metadata }) => metadata.name))).toEqual(new Set(names));
  });

  it('marks a pod of a node for its end, and deletes it without a grace period', async () => {
    const place = { namespace: 'n', name: 'p' };
    api.create('Pod', { metadata: place, spec: { nodeName: 'a' } });
    const path = '/api/v1/namespaces/n/pods/p';
    expect((await ask(api, path, { method: 'DELETE' })).body.metadata['deletionTimestamp']).toBeTypeOf('string');
    expect(api.get('Pod', place)).toBeDefined();
    await ask(api, `${path}?gracePeriodSeconds=0`, { method: 'DELETE' });
    expect(api.get('Pod', place)).toBeUndefined();
  });

  it('refuses what it does not know instead of breaking', async () => {
    api.create('Pod', { metadata: { namespace: 'n', name: 'p' } });
    const path = '/api/v1/namespaces/n/pods/p';
    const patch = async (body: unknown): Promise<number> =>
      (await ask(api, path, { method: 'PATCH', body, type: 'application/merge-patch+json' })).code;
    expect(await patch({ metadata: null })).toBe(400);
    expect(await patch({ metadata: { annotations: { a: 1 } } })).toBe(400);
    expect((await ask(api, path, { method: 'PUT', body: {} })).code).toBe(405);
    expect((await ask(api, '/api/v1/pods?continue=nonsense')).code).toBe(400);
    expect(
      (await ask(api, '/api/v1/namespaces/missing/pods', { method: 'POST', body: { metadata: { name: 'q' } } })).code,
    ).toBe(404);
  });
});

describe('the API double in a process of its own', () => {
  it('does what it is told, in order, and ends with its standard input', async () => {
    const api = await KubernetesApiProcess.start();
    try {
      await Promise.all(
        ['a', 'b', 'c'].map((name) => api.call('create', 'Pod', { metadata: { name, namespace: 'n' } })),
      );
      await api.call('remove', 'Pod', { namespace: 'n', name: 'b' });
      expect((await api.call('list', 'Pod')).map(({ metadata }) => metadata.name)).toEqual(['a', 'c']);
      await expect(api.call('remove', 'Pod', { namespace: 'n', name: 'b' })).rejects.toThrow('pods "b" not found');
      await api.call('inject', { kind: 'status', code: 503 });
      expect((await ask(api, '/api/v1/pods')).code).toBe(503);
      await api.call('away');
      await expect(ask(api, '/api/v1/pods')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
      await api.call('back');
      expect((await ask(api, '/api/v1/pods')).body.items).toHaveLength(2);
    } finally {
      await api.close();
    }
    expect(api.process.running).toBe(false);
  });
});
