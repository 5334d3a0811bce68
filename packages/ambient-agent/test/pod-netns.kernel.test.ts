// The owner of pods' network namespaces, on real ones: what it opens, changes and restores, and what it leaves alone.
import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RoutedDevices, RoutedFamilies } from '@sluice/datapath';
import { addRule, Netns, netnsCookie, NetnsGoneError, rules, watchNetns } from '@sluice/linux';
import { Cgroup, cgroup2Root, Namespace, requires, uniqueName } from '@sluice/testbed';
import * as Effect from 'effect/Effect';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ServedPod } from '../src/index.js';
import { byCookie, netnsFile, type ChangedNetns } from '../src/pod-netns/memory.js';
import { PodNetns, podNetns } from '../src/pod-netns/pod-netns.js';
import { config } from './world.js';

const need = requires('root', 'netns', 'cgroup2');

describe.skipIf(need.skip)(`the owner of pods’ network namespaces${need.label}`, () => {
  let cgroup: Cgroup;
  let runDir: string;
  let pod: Namespace;
  /** How the tests look at the namespace. */
  let netns: Netns;
  beforeAll(() => {
    cgroup = new Cgroup(`${cgroup2Root()}/${uniqueName()}`);
  });
  afterAll(() => {
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
    rmSync(runDir, { recursive: true, force: true });
  });

  const seenAt = (path: string, cookie: bigint): NonNullable<ServedPod['netns']> => ({
    inode: 0n,
    cookie,
    pid: 0,
    path,
    addresses: [],
    owner: 'host',
  });
  const served = (seen: ServedPod['netns'], cookie = netns.cookie): ServedPod => ({
    uid: 'uid',
    podUid: 'pod-uid',
    name: 'cart',
    namespace: 'shop',
    serviceAccount: 'default',
    ips: [],
    cookie,
    netns: seen,
    isAcknowledged: false,
    isOffered: true,
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
  /** Priorities of the IPv4 rules that are not the kernel's. */
  const ours = (): number[] =>
    rules(netns).flatMap(({ family, protocol, priority }) => (family === 4 && protocol === 4 ? priority : []));
  const rewrite = { by: 'rewrite' } as const;

  it('opens a namespace once, remembers what it changes there, and closes it when it has restored it', async () => {
    const pristine = rules(netns);
    await withOwner((owner) =>
      Effect.gen(function* () {
        yield* owner.open(here());
        yield* owner.open(here());
        expect(descriptors()).toBe(2); // the test's own is the other
        expect([...kept().values()]).toEqual([{ cookie: String(netns.cookie), uid: 'uid', podUid: 'pod-uid' }]);
        expect((yield* owner.apply(netns.cookie, rewrite)).changed).toContain('IPv4 rule');
        expect(descriptors()).toBe(2);
        expect((yield* owner.apply(netns.cookie, rewrite)).changed).toEqual([]);
        expect(ours()).toEqual([32764]);
        yield* owner.restore(netns.cookie, undefined);
        yield* owner.restore(netns.cookie, undefined);
      }),
    );
    expect([ours(), rules(netns)]).toEqual([[], pristine]);
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
    await withOwner((owner) => Effect.andThen(owner.open(here()), Effect.asVoid(owner.apply(netns.cookie, rewrite))));
    expect([ours(), descriptors()]).toEqual([[32764], 1]);
    await withOwner((owner) => {
      expect([...owner.changed().keys()]).toEqual([netns.cookie]);
      return owner.restore(netns.cookie, seenAt(pod.path, netns.cookie));
    });
    expect([ours(), kept().size, descriptors()]).toEqual([[], 0, 1]);
  });

  it('changes only the pod’s namespace', async () => {
    const other = netns.cookie + 1_000_000n;
    const failure = await withOwner((owner) => Effect.flip(owner.open(served(seenAt(pod.path, other), other))));
    expect(failure).toMatchObject({
      step: 'open',
      message: expect.stringContaining(`open ${pod.path} (cookie ${other},`),
    });
    // The namespace that an earlier agent changed is gone; the one at its path now belongs to somebody else.
    await withOwner((owner) => Effect.andThen(owner.open(here()), Effect.asVoid(owner.apply(netns.cookie, rewrite))));
    await withOwner((owner) => owner.restore(other, seenAt(pod.path, other)));
    expect([ours(), descriptors()]).toEqual([[32764], 1]);
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

  it('opens a namespace for changes only once that is on disk, however often it could not be written', async () => {
    const disk = {
      fail: Effect.sync(() => rmSync(runDir, { recursive: true })),
      mend: Effect.sync(() => mkdirSync(runDir)),
    };
    await withOwner((owner) =>
      Effect.gen(function* () {
        yield* disk.fail;
        for (let n = 0; n < 2; n++) expect(yield* Effect.flip(owner.open(here()))).toMatchObject({ step: 'open' });
        yield* disk.mend;
        yield* owner.open(here());
        expect([...kept().keys()]).toEqual([netns.cookie]);
        yield* disk.fail;
        yield* Effect.flip(owner.apply(netns.cookie, rewrite));
        yield* disk.mend;
        // What was there before the change is known from the first attempt only.
        yield* owner.apply(netns.cookie, rewrite);
        expect(kept().get(netns.cookie)?.before).toBeDefined();
        yield* disk.fail;
        expect(yield* Effect.flip(owner.restore(netns.cookie, undefined))).toMatchObject({ step: 'restore' });
        yield* disk.mend;
        expect([...owner.changed().keys()]).toEqual([netns.cookie]);
        yield* owner.restore(netns.cookie, undefined);
        expect(kept().size).toBe(0);
      }),
    );
    expect(ours()).toEqual([]);
  });

  it('names the namespace and the part that it could not change', async () => {
    await pod.ip('link set lo down');
    const failure = await withOwner((owner) =>
      Effect.andThen(owner.open(here()), Effect.flip(owner.apply(netns.cookie, rewrite))),
    );
    expect(failure).toMatchObject({ step: 'apply', message: expect.stringContaining(pod.path) });
    await pod.ip('link set lo up');
    expect(await withOwner((owner) => Effect.flip(owner.apply(netns.cookie, rewrite)))).toMatchObject({
      message: `the network namespace ${netns.cookie} is not open`,
    });
  });

  describe('of a pod that is captured by route', () => {
    const POD = '10.66.60.2';
    const byRoute = { by: 'route', podIps: [POD] } as const;
    // Without an IPv6 address, that family is unreachable, and no socket can be bound to a device for it.
    const UNBOUND: [number, RoutedFamilies] = [0, { ipv4: true, ipv6: true }];
    let ROUTED: RoutedDevices;
    const NOT_ROUTED: RoutedDevices = new Map();
    let heard: string[];
    beforeEach(async () => {
      heard = [];
      await pod.ip('link add eth0 type veth peer name far', 'link set eth0 addrgenmode none', 'link set eth0 up');
      await pod.ip('link set far addrgenmode none', 'link set far up', `address add ${POD}/24 dev eth0`);
      const eth0 = netns.addresses().find(({ name }) => name === 'eth0')?.ifindex ?? -1;
      ROUTED = new Map([UNBOUND, [eth0, { ipv4: true, ipv6: false }]]);
    });
    /** Runs an agent that has applied it, and notes what it hears of the namespace after that. */
    const withCaptured = <A, E>(body: (owner: PodNetns['Service']) => Effect.Effect<A, E>) =>
      withOwner((owner) =>
        Effect.gen(function* () {
          owner.listen({
            lost: (cookie) => heard.push(`lost ${cookie} ${owner.routed(cookie).size}`),
            changed: (cookie) => heard.push(`changed ${cookie}`),
          });
          yield* owner.open(here());
          expect(owner.routed(netns.cookie)).toEqual(NOT_ROUTED);
          expect(yield* owner.apply(netns.cookie, byRoute)).toMatchObject({ routed: ROUTED });
          expect(owner.routed(netns.cookie)).toEqual(ROUTED);
          yield* settled;
          // Its own changes are none.
          expect(heard).toEqual([]);
          const result = yield* body(owner);
          yield* owner.restore(netns.cookie, undefined);
          return result;
        }),
      );
    /** As soon as a change that was made last in another namespace has been noticed. */
    const settled = Effect.promise(async () => {
      using other = Netns.create();
      await new Promise<void>((resolve) => {
        const watch = watchNetns(other, () => {
          watch[Symbol.dispose]();
          resolve();
        });
        addRule(other, { family: 4, priority: 7, table: 7 });
      });
    });
    const change = (...commands: string[]): Effect.Effect<string[]> =>
      Effect.gen(function* () {
        for (const command of commands) yield* Effect.promise(() => pod.run(['ip', ...command.split(' ')]));
        yield* settled;
        return heard.splice(0);
      });
    const lost = (): string => `lost ${netns.cookie} 0`;
    const changed = (): string => `changed ${netns.cookie}`;

    it.each([
      ['rule del priority 1', 1],
      ['-6 rule del priority 2', 1],
      ['route flush table 101', 3],
      ['route del local default dev eth0 table 101', 1],
      // The kernel removes the routes of the device together with their source.
      [`address del ${POD}/24 dev eth0`, 2],
    ] as const)('says so at once when somebody takes a part away (%s), and puts it back', async (command, count) => {
      await withCaptured((owner) =>
        Effect.gen(function* () {
          expect(yield* change(command)).toEqual([lost(), changed()]);
          const { changed: parts, routed } = yield* owner.apply(netns.cookie, byRoute);
          expect([parts.length, routed]).toEqual([count, command.startsWith('address') ? new Map([UNBOUND]) : ROUTED]);
          expect(owner.routed(netns.cookie)).toEqual(routed);
        }),
      );
    });

    it('says nothing of what does not concern it', async () => {
      await withCaptured((owner) =>
        Effect.gen(function* () {
          expect(yield* change('rule add priority 100 lookup 77', 'route add default dev eth0 table 77')).toEqual([]);
          expect(owner.routed(netns.cookie)).toEqual(ROUTED);
          // The way of answers is put back, too, without giving up the pod's own connections.
          expect(yield* change('rule del priority 32764')).toEqual([changed()]);
          expect(owner.routed(netns.cookie)).toEqual(ROUTED);
        }),
      );
    });

    it('knows the addresses of the namespace, whatever becomes of them', async () => {
      await withCaptured((owner) =>
        Effect.gen(function* () {
          const known = Effect.map(owner.addresses(netns.cookie), (all) => all.map(({ address }) => address));
          const before = yield* owner.addresses(netns.cookie);
          expect(yield* owner.addresses(netns.cookie)).toBe(before);
          expect(yield* known).toContain(POD);
          expect(yield* change('address add 10.66.61.2/24 dev eth0')).toEqual([changed()]);
          expect(yield* known).toContain('10.66.61.2');
          // As a router does that renews it.
          const renewal = 'valid_lft 3000 preferred_lft 3000';
          expect(yield* change(`address change 10.66.61.2/24 dev eth0 ${renewal}`)).toEqual([]);
          expect(yield* change('address change 10.66.61.2/24 dev eth0 valid_lft 3000 preferred_lft 0')).toEqual([
            changed(),
          ]);
          expect(owner.routed(netns.cookie)).toEqual(ROUTED);
        }),
      );
    });

    it('gives way to what stands in the way, and comes back', async () => {
      const words =
        'in its network namespace, the IPv4 rule "priority 0 lookup 77" comes before those of Sluice; remove it if the pod does not need it';
      await withCaptured((owner) =>
        Effect.gen(function* () {
          expect(yield* owner.inTheWay(netns.cookie)).toBeUndefined();
          expect(yield* change('rule add priority 0 lookup 77')).toEqual([lost(), changed()]);
          expect(yield* owner.inTheWay(netns.cookie)).toBe(words);
          expect(yield* owner.apply(netns.cookie, byRoute)).toMatchObject({
            inTheWay: words,
            routed: NOT_ROUTED,
          });
          yield* owner.apply(netns.cookie, { by: 'rewrite' });
          expect(yield* change('rule add priority 100 lookup 77')).toEqual([]);
          expect(yield* change('rule del priority 0 lookup 77')).toEqual([changed()]);
          expect(yield* owner.inTheWay(netns.cookie)).toBeUndefined();
          expect(yield* owner.apply(netns.cookie, byRoute)).toMatchObject({ routed: ROUTED });
        }),
      );
    });

    it('says so before it takes a rule away itself, and nothing after the end', async () => {
      await withCaptured((owner) =>
        Effect.gen(function* () {
          owner.listen({
            lost: () => heard.push(`lost with ${rules(netns).filter(({ priority }) => priority <= 2).length} rules`),
            changed: () => {},
          });
          yield* owner.apply(netns.cookie, { by: 'rewrite' });
          yield* owner.apply(netns.cookie, byRoute);
          yield* owner.restore(netns.cookie, undefined);
          // Those of the kernel are the other two.
          expect(heard.splice(0)).toEqual(['lost with 6 rules', 'lost with 6 rules']);
          expect(yield* change('address add 10.66.61.2/24 dev eth0')).toEqual([]);
          yield* owner.open(here());
        }),
      );
    });

    it('still counts as routed if a later apply fails without having taken anything away', async () => {
      await withCaptured((owner) =>
        Effect.gen(function* () {
          yield* change('rule add priority 32764 lookup 77');
          expect(yield* Effect.flip(owner.apply(netns.cookie, byRoute))).toMatchObject({ step: 'apply' });
          expect([owner.routed(netns.cookie), heard]).toEqual([ROUTED, []]);
          yield* change('rule del priority 1');
          expect(yield* Effect.flip(owner.apply(netns.cookie, byRoute))).toMatchObject({ step: 'apply' });
          expect(owner.routed(netns.cookie)).toEqual(NOT_ROUTED);
        }),
      );
    });
  });
});
