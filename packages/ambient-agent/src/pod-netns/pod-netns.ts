// The network namespaces of pods as a service of the agent, which is their one owner. Each is opened when it is found, lent to
// every part that looks into it or changes it, and closed when it is restored. Changes are written to disk before anything
// relies on them, so that a later agent can undo them.
import type { LendNetns, NetnsRef } from '@sluice/cgroup-resolver';
import { Netns, NetnsGoneError } from '@sluice/linux';
import * as Context from 'effect/Context';
import * as Effect from 'effect/Effect';
import * as Layer from 'effect/Layer';
import type { AgentConfig } from '../config/config.js';
import type { ServedPod } from '../enrolment/served.js';
import { messageOf } from '../failure/message-of.js';
import { PodNetnsError } from './errors.js';
import { writeNetns, type ChangedNetns } from './memory.js';
import { ensureOriginalSource, removeOriginalSource } from './original-source.js';

export class PodNetns extends Context.Service<
  PodNetns,
  {
    /** Namespaces that this agent or an earlier one changed, or may have changed, by cookie. */
    readonly changed: () => ReadonlyMap<bigint, ChangedNetns>;
    /** Lends a namespace until {@link restore} or the end of the scope; undefined if it is not open. */
    readonly get: (cookie: bigint) => Netns | undefined;
    /** For the resolver: a namespace that is opened for it stays open until {@link closeUnused}. */
    readonly lend: LendNetns;
    /** Writes down that the pod's namespace will be changed, and opens it if it is not open; lent as by {@link get}. Idempotent. */
    readonly open: (pod: ServedPod) => Effect.Effect<Netns, PodNetnsError>;
    /**
     * Lets ztunnel dial the application from the client's address. Idempotent.
     * @param filterFd the tc program for the loopback
     * @returns the parts that were missing or wrong
     */
    readonly plumb: (cookie: bigint, filterFd: number) => Effect.Effect<readonly string[], PodNetnsError>;
    /**
     * Restores the namespace and closes it. Idempotent.
     * @param seen where it is, if it is not open; undefined if it is gone and only has to be forgotten
     */
    readonly restore: (cookie: bigint, seen: NetnsRef | undefined) => Effect.Effect<void, PodNetnsError>;
    /** Closes the namespaces that were only looked into: those that are neither served nor changed. */
    readonly closeUnused: (served: ReadonlySet<bigint>) => Effect.Effect<void>;
  }
>()('@sluice/ambient-agent/pod-netns/PodNetns') {}

/**
 * The end of the scope closes the namespaces; what was changed in them stays.
 * @param changed namespaces that an earlier agent changed, by cookie
 */
export const podNetns = (
  { paths, ambient }: Pick<AgentConfig, 'paths' | 'ambient'>,
  changed: Map<bigint, ChangedNetns>,
): Layer.Layer<PodNetns> =>
  Layer.effect(
    PodNetns,
    Effect.gen(function* () {
      const open = new Map<bigint, Netns>();
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          for (const netns of open.values()) netns.close();
        }),
      );
      const attempt = <A>(step: PodNetnsError['step'], run: () => A): Effect.Effect<A, PodNetnsError> =>
        Effect.try({ try: run, catch: (error) => new PodNetnsError({ step, message: messageOf(error) }) });
      const remember = (entry: ChangedNetns): void => {
        const cookie = BigInt(entry.cookie);
        const isNews = JSON.stringify(changed.get(cookie)) !== JSON.stringify(entry);
        changed.set(cookie, entry);
        if (isNews) writeNetns(paths.runDir, changed);
      };
      const close = (cookie: bigint): void => {
        open.get(cookie)?.close();
        open.delete(cookie);
      };
      const forget = (cookie: bigint): void => {
        close(cookie);
        if (changed.delete(cookie)) writeNetns(paths.runDir, changed);
      };
      /** Keeps one open object per namespace, whatever path it was opened by. */
      const keep = (netns: Netns): Netns => {
        const known = open.get(netns.cookie);
        if (known === undefined) open.set(netns.cookie, netns);
        else netns.close();
        return known ?? netns;
      };
      const held = (cookie: bigint, seen: NetnsRef | undefined): Netns | undefined =>
        open.get(cookie) ?? (seen === undefined ? undefined : keep(Netns.open(seen.path, cookie)));

      return PodNetns.of({
        changed: () => changed,
        get: (cookie) => open.get(cookie),
        lend: (path, identity, look) =>
          look([...open.values()].find((netns) => netns.identity === identity) ?? keep(Netns.open(path))),
        open: ({ cookie, uid, podUid, netns: seen }) =>
          attempt('open', () => {
            const netns = held(cookie, seen);
            if (netns === undefined) throw new Error(`the network namespace ${cookie} cannot be found now`);
            // This comes before any change, because a namespace that nobody remembers would never be restored.
            remember({ ...changed.get(cookie), cookie: String(cookie), uid, podUid });
            return netns;
          }),
        plumb: (cookie, filterFd) =>
          attempt('original-source', () => {
            const netns = open.get(cookie);
            const entry = changed.get(cookie);
            if (netns === undefined || entry === undefined)
              throw new Error(`the network namespace ${cookie} is not open`);
            const result = ensureOriginalSource(netns, {
              procPath: paths.proc,
              filterFd,
              ipv6: ambient.ipv6,
              memory: entry.before,
            });
            remember({ ...entry, before: result.memory });
            return result.changed;
          }),
        restore: (cookie, seen) =>
          attempt('restore', () => {
            try {
              const netns = held(cookie, seen);
              const memory = changed.get(cookie)?.before;
              if (netns !== undefined) removeOriginalSource(netns, { procPath: paths.proc, memory });
            } catch (error) {
              // A namespace that is gone needs no restoring.
              if (!(error instanceof NetnsGoneError)) throw error;
            }
            forget(cookie);
          }),
        closeUnused: (served) =>
          Effect.sync(() => {
            for (const cookie of open.keys()) if (!served.has(cookie) && !changed.has(cookie)) close(cookie);
          }),
      });
    }),
  );
