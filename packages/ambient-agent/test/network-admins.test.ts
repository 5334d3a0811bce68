// Which containers may change their pod's network, by what Kubernetes accepts in a securityContext; and that nothing that is odd
// counts as harmless.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseManifest, type NetworkAdmin } from '../src/index.js';

const file = (name: string): string => readFileSync(fileURLToPath(new URL(`./pods/${name}`, import.meta.url)), 'utf8');

/** Through the whole reader, because an object that is refused would leave its pod outside the mesh. */
function adminsOf(spec: unknown): readonly NetworkAdmin[] | undefined {
  const { pods, problems } = parseManifest(
    JSON.stringify({ kind: 'Pod', metadata: { uid: 'u', name: 'a' }, spec }),
    'a.json',
  );
  expect(problems).toEqual([]);
  expect(pods).toHaveLength(1);
  return pods[0]?.networkAdmins;
}

const withContext = (securityContext: unknown): readonly NetworkAdmin[] | undefined =>
  adminsOf({ containers: [{ name: 'app', securityContext }] });
const app = (by: NetworkAdmin['by']): NetworkAdmin[] => [{ kind: 'container', container: 'app', by }];

describe('the containers that may change their pod’s network', () => {
  it('are read from a Pod of an API server: init and ephemeral ones, too', () => {
    const { pods, problems } = parseManifest(file('debugged.yaml'), 'debugged.yaml');
    expect(problems).toEqual([]);
    expect(pods[0]?.networkAdmins).toEqual([
      { kind: 'init container', container: 'tune', by: 'privileged' },
      { kind: 'ephemeral container', container: 'debugger-q8h4n', by: 'NET_ADMIN' },
    ]);
  });

  const harmless: [string, unknown][] = [
    ['nothing', undefined],
    ['null', null],
    ['an empty context', {}],
    ['privileged: false', { privileged: false }],
    ['nulls', { privileged: null, capabilities: null }],
    ['an empty list', { capabilities: { add: [] } }],
    ['null for a list', { capabilities: { add: null, drop: ['ALL'] } }],
    ['other capabilities', { capabilities: { add: ['NET_RAW', 'CAP_NET_BIND_SERVICE', 'SYS_TIME'] } }],
  ];
  it.each(harmless)('are none with %s', (_name, context) => expect(withContext(context)).toEqual([]));

  const powerful: [string, unknown, NetworkAdmin['by']][] = [
    ['privileged', { privileged: true }, 'privileged'],
    ['NET_ADMIN', { capabilities: { add: ['NET_RAW', 'NET_ADMIN'] } }, 'NET_ADMIN'],
    // Runtimes put the name into upper case, and some take the prefix (containerd, CRI-O).
    ['lower case', { capabilities: { add: ['net_admin'] } }, 'NET_ADMIN'],
    ['the prefix', { capabilities: { add: ['CAP_NET_ADMIN'] } }, 'NET_ADMIN'],
    ['both', { capabilities: { add: [' cap_Net_Admin '] } }, 'NET_ADMIN'],
    ['ALL', { capabilities: { add: ['ALL'] } }, 'ALL'],
    ['all', { capabilities: { add: ['all'], drop: ['NET_ADMIN'] } }, 'ALL'],
    ['added and dropped', { capabilities: { add: ['NET_ADMIN'], drop: ['ALL'] } }, 'NET_ADMIN'],
  ];
  it.each(powerful)('are found by %s', (_name, context, by) => expect(withContext(context)).toEqual(app(by)));

  const odd: [string, unknown][] = [
    ['a context that is text', 'privileged'],
    ['a context that is a list', [{ privileged: false }]],
    ['privileged as text', { privileged: 'false' }],
    ['privileged as a number', { privileged: 0 }],
    ['capabilities that are a list', { capabilities: ['NET_RAW'] }],
    ['a list that is text', { capabilities: { add: 'NET_RAW' } }],
    ['a list with a number', { capabilities: { add: ['NET_RAW', 12] } }],
    ['a list with null', { capabilities: { add: [null] } }],
  ];
  it.each(odd)('cannot be told from %s, which counts as one', (_name, context) =>
    expect(withContext(context)).toEqual(app('unknown')),
  );

  it('cannot be told from containers that are no objects, or have no name', () => {
    expect(adminsOf({ containers: [{ name: 'app' }, 'proxy'] })).toEqual([
      { kind: 'container', container: '', by: 'unknown' },
    ]);
    expect(adminsOf({ containers: [{ name: 7, securityContext: { privileged: true } }] })).toEqual([
      { kind: 'container', container: '', by: 'privileged' },
    ]);
  });

  it('are not known without a list of containers', () => {
    for (const containers of [undefined, null, [], 'app', { name: 'app' }])
      expect(adminsOf({ containers })).toBe(undefined);
    for (const name of ['initContainers', 'ephemeralContainers']) {
      expect(adminsOf({ containers: [{ name: 'app' }], [name]: { name: 'other' } })).toBe(undefined);
      expect(adminsOf({ containers: [{ name: 'app' }], [name]: null })).toEqual([]);
    }
  });

  it('are never none when a field has a value that Kubernetes does not know', () => {
    const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null && !Array.isArray(value);
    const oddContext = fc.jsonValue().filter((value) => value !== null && !isObject(value));
    const places: fc.Arbitrary<unknown>[] = [
      oddContext,
      fc
        .jsonValue()
        .filter((value) => value !== null && value !== false)
        .map((privileged) => ({ privileged })),
      oddContext.map((capabilities) => ({ capabilities })),
      fc
        .jsonValue()
        .filter((value) => value !== null && !Array.isArray(value))
        .map((add) => ({ capabilities: { add } })),
      fc
        .jsonValue()
        .filter((value) => typeof value !== 'string')
        .map((one) => ({ capabilities: { add: ['SYS_TIME', one] } })),
    ];
    fc.assert(
      fc.property(fc.oneof(...places), (context) => {
        const [found, ...others] = withContext(context) ?? [];
        expect([found?.container, others]).toEqual(['app', []]);
      }),
    );
  });
});
