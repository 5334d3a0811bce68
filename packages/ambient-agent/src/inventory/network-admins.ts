// Which containers of a Pod may change the pod's network namespace, where they could take away what captures the pod's connections.
// Nothing here is refused: a pod that is refused would stay outside the mesh. What is odd counts as a container that may.
import type { NetworkAdmin } from './model.js';

/** The lists of a Pod's spec (core/v1 PodSpec); the first has at least one container. */
const LISTS = [
  { name: 'containers', kind: 'container' },
  { name: 'initContainers', kind: 'init container' },
  { name: 'ephemeralContainers', kind: 'ephemeral container' },
] as const;

/** What is read of a Pod's spec, not looked into yet. */
export type ContainerLists = Readonly<Partial<Record<(typeof LISTS)[number]['name'], unknown>>>;

/** Most pods have none, and share this. */
const none: readonly NetworkAdmin[] = [];

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const isAbsent = (value: unknown): value is undefined | null => value === undefined || value === null;

/** The API takes any text; runtimes put it into upper case, and some take the kernel's prefix. */
const capabilityName = (text: string): string => text.trim().toUpperCase().replace(/^CAP_/, '');

/** By which part of its securityContext (core/v1) a container may change the network; undefined if it may not. */
function powerOf(container: unknown): NetworkAdmin['by'] | undefined {
  if (!isObject(container)) return 'unknown';
  const context = container['securityContext'];
  if (isAbsent(context)) return undefined;
  if (!isObject(context)) return 'unknown';
  const { privileged, capabilities } = context;
  if (privileged === true) return 'privileged';
  const isPrivilegeKnown = isAbsent(privileged) || privileged === false;
  const ofCapabilities = powerOfCapabilities(capabilities);
  return isPrivilegeKnown ? ofCapabilities : (ofCapabilities ?? 'unknown');
}

function powerOfCapabilities(capabilities: unknown): NetworkAdmin['by'] | undefined {
  if (isAbsent(capabilities)) return undefined;
  if (!isObject(capabilities)) return 'unknown';
  const { add } = capabilities;
  if (isAbsent(add)) return undefined;
  if (!Array.isArray(add)) return 'unknown';
  // What is dropped does not matter: runtimes add after they have dropped.
  const names = new Set(
    (add as readonly unknown[]).map((name) => (typeof name === 'string' ? capabilityName(name) : undefined)),
  );
  if (names.has('ALL')) return 'ALL';
  if (names.has('NET_ADMIN')) return 'NET_ADMIN';
  return names.has(undefined) ? 'unknown' : undefined;
}

/** Pure. Undefined if the spec does not say which containers there are. */
export function networkAdmins(spec: ContainerLists): readonly NetworkAdmin[] | undefined {
  const found: NetworkAdmin[] = [];
  for (const { name, kind } of LISTS) {
    const list = spec[name];
    if (isAbsent(list) && name !== 'containers') continue;
    if (!Array.isArray(list) || (list.length === 0 && name === 'containers')) return undefined;
    for (const container of list as readonly unknown[]) {
      const by = powerOf(container);
      if (by === undefined) continue;
      const called = isObject(container) ? container['name'] : undefined;
      found.push({ kind, container: typeof called === 'string' ? called : '', by });
    }
  }
  return found.length === 0 ? none : found;
}
