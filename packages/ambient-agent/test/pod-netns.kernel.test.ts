// The owner of pods' network namespaces, on real ones: what it opens, changes and restores, and what it leaves alone.
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openObject, type BpfObject } from '@sluice/libbpf';
import { Netns, netnsCookie, NetnsGoneError, rules, tcFilters } from '@sluice/linux';
import { Cgroup, cgroup2Root, Namespace, requires, uniqueName } from '@sluice/testbed';
import * as Effect from 'effect/Effect';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ServedPod } from '../src/index.js';
import { byCookie, netnsFile, type ChangedNetns } from '../src/pod-netns/memory.js';
import { PodNetns, podNetns } from '../src/pod-netns/pod-netns.js';
import { config } from './world.js';

const need = requires('root', 'bpf', 'netns', 'cgroup2');
const OBJECT = fileURLToPath(new URL('../../../bpf/build/sluice.bpf.o', import.meta.url));
const PROGRAM = 'sluice_loopback';

describe.skipIf(need.skip)(`the owner of pods’ network namespaces${need.label}`, () => {
  let cgroup: Cgroup;
  let object: BpfObject;
  let runDir: string;
  let pod: Namespace;
  /** How the tests look at the namespace. */
  let netns: Netns;
  beforeAll(() => {
    cgroup = new Cgroup(`${cgroup2Root()}/${uniqueName()}`);
    object = openObject(OBJECT, { autoload: (name) => name === PROGRAM });
    object.load();
  });
  afterAll(() => {
    object?.close();
    cgroup?.remove();
  });
  beforeEach(async () => {
    runDir = mkdtempSync(join(tmpdir(), 'sluice-pod-netns-'));
    pod = await Namespace.create(cgroup);
    netns = Netns.open(pod.path);
  });
  afterEach(async () => {
    netns.close();
    await pod.close();
    rmSync(runDir, { recursive: true });
  });

  const seenAt = (path: string, cookie: bigint): NonNullable<ServedPod['netns']> => ({
    inode: 0n,
    cookie,
    pid: 0,
    path,
    addresses: [],
  });
  const served = (seen: ServedPod['netns'], cookie = netns.cookie): ServedPod => ({
    uid: 'uid',
    podUid: 'pod-uid',
    name: 'cart',
    namespace: 'shop',
    serviceAccount: 'default',
    cookie,
    netns: seen,
    isAcknowledged: false,
    capture: { by: 'rewrite', because: 'a test' },
    isRoutable: false,
  });
  const here = (): ServedPod => served(seenAt(pod.path, netns.cookie));
  /** What is on disk, by cookie. */
  const kept = (): Map<bigint, ChangedNetns> => {
    const reading = netnsFile(runDir).read();
    return byCookie(reading.kind === 'kept' ? reading.value.netns : []);
  };
  /** Runs an agent with the service, whose end closes everything that is open. */
  const withOwner = <A, E>(body: (owner: PodNetns['Service']) => Effect.Effect<A, E>): Promise<A> =>
    Effect.runPromise(
      Effect.flatMap(PodNetns, body).pipe(
        Effect.provide(podNetns(config({ mode: 'inPod', paths: { runDir } }), kept())),
      ),
    );
  const descriptors = (): number =>
    readdirSync('/proc/self/fd').filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`) === `net:[${netns.inode}]`;
      } catch {
        return false; // that of the directory itself
      }
    }).length;
  const filters = (): (string | undefined)[] => tcFilters(netns, 'lo').map(({ bpf }) => bpf?.name);
  const filterFd = (): number => object.program(PROGRAM).fd;

  it('opens a namespace once, remembers what it changes there, and closes it when it has restored it', async () => {
    const pristine = rules(netns);
    await withOwner((owner) =>
      Effect.gen(function* () {
        yield* owner.open(here());
        yield* owner.open(here());
        expect(descriptors()).toBe(2); // the test's own is the other
        expect([...kept().values()]).toEqual([{ cookie: String(netns.cookie), uid: 'uid', podUid: 'pod-uid' }]);
        expect(yield* owner.plumb(netns.cookie, filterFd())).toContain('filter');
        expect(yield* owner.plumb(netns.cookie, filterFd())).toEqual([]);
        expect(filters()).toEqual(['sluice_lo']);
        yield* owner.restore(netns.cookie, undefined);
        yield* owner.restore(netns.cookie, undefined);
      }),
    );
    expect([filters(), rules(netns)]).toEqual([[], pristine]);
    expect([kept().size, descriptors()]).toEqual([0, 1]);
  });

  it('lends the resolver the namespace that it keeps, and closes unused ones in the end', async () => {
    const stranger = await Namespace.create(cgroup);
    const cookie = netnsCookie(stranger.path);
    await withOwner((owner) =>
      Effect.gen(function* () {
        const lent = owner.lend(pod.path, netns.identity, (one) => one);
        expect([lent.cookie, owner.get(netns.cookie), descriptors()]).toEqual([netns.cookie, lent, 2]);
        // It is found by its identity, wherever the path leads by now, and by another path.
        expect(owner.lend('/nowhere', netns.identity, (one) => one)).toBe(lent);
        expect(owner.lend(pod.path, 'not looked at yet', (one) => one)).toBe(lent);
        const other = owner.lend(stranger.path, 'not looked at yet', (one) => one);
        expect(yield* owner.open(served(undefined))).toBe(lent);
        expect([other.cookie, descriptors()]).toEqual([cookie, 2]);
        yield* owner.closeUnused(new Set([cookie]));
        expect([owner.get(cookie), owner.get(netns.cookie)]).toEqual([other, lent]);
        // The first one is changed, and therefore kept until it is restored.
        yield* owner.closeUnused(new Set());
        expect([owner.get(cookie), other.fd, owner.get(netns.cookie)]).toEqual([undefined, -1, lent]);
        yield* owner.restore(netns.cookie, undefined);
        expect([lent.fd, descriptors()]).toEqual([-1, 1]);
        expect(() => owner.lend('/nowhere', netns.identity, () => 'looked')).toThrow(NetnsGoneError);
      }),
    );
    await stranger.close();
  });

  it('closes what it changed when it ends, and leaves it for the next agent to restore', async () => {
    await withOwner((owner) =>
      Effect.andThen(owner.open(here()), Effect.asVoid(owner.plumb(netns.cookie, filterFd()))),
    );
    expect([filters(), descriptors()]).toEqual([['sluice_lo'], 1]);
    await withOwner((owner) => {
      expect([...owner.changed().keys()]).toEqual([netns.cookie]);
      return owner.restore(netns.cookie, seenAt(pod.path, netns.cookie));
    });
    expect([filters(), kept().size, descriptors()]).toEqual([[], 0, 1]);
  });

  it('changes only the pod’s namespace', async () => {
    const other = netns.cookie + 1_000_000n;
    const failure = await withOwner((owner) => Effect.flip(owner.open(served(seenAt(pod.path, other), other))));
    expect(failure).toMatchObject({
      step: 'open',
      message: expect.stringContaining(`open ${pod.path} (cookie ${other},`),
    });
    // The namespace that an earlier agent changed is gone; the one at its path now belongs to somebody else.
    await withOwner((owner) =>
      Effect.andThen(owner.open(here()), Effect.asVoid(owner.plumb(netns.cookie, filterFd()))),
    );
    await withOwner((owner) => owner.restore(other, seenAt(pod.path, other)));
    expect([filters(), descriptors()]).toEqual([['sluice_lo'], 1]);
    expect([...kept().keys()]).toEqual([netns.cookie]);
  });

  it('does not open a namespace that is gone, and forgets one that has ended', async () => {
    await withOwner((owner) => owner.open(here()));
    const { path } = pod;
    const seen = seenAt(path, netns.cookie);
    await pod.close();
    await withOwner((owner) =>
      Effect.gen(function* () {
        expect(yield* Effect.flip(owner.open(served(seen)))).toMatchObject({
          step: 'open',
          message: expect.stringContaining(`open ${path}: ENOENT`),
        });
        expect(yield* Effect.flip(owner.open(served(undefined)))).toMatchObject({
          message: `the network namespace ${netns.cookie} cannot be found now`,
        });
        expect(kept().size).toBe(1);
        yield* owner.restore(netns.cookie, seen);
      }),
    );
    expect([kept().size, descriptors()]).toEqual([0, 1]);
  });

  it('names the namespace and the part that it could not change', async () => {
    await pod.ip('link set lo down');
    const failure = await withOwner((owner) =>
      Effect.andThen(owner.open(here()), Effect.flip(owner.plumb(netns.cookie, filterFd()))),
    );
    expect(failure).toMatchObject({ step: 'original-source', message: expect.stringContaining(pod.path) });
    await pod.ip('link set lo up');
    expect(await withOwner((owner) => Effect.flip(owner.plumb(netns.cookie, filterFd())))).toMatchObject({
      message: `the network namespace ${netns.cookie} is not open`,
    });
  });
});
