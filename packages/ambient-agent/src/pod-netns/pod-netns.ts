// The network namespaces of pods as a service of the agent, and their one owner: each is opened when it is found, lent to
// all that look into it or change it, given back and closed. What is changed in which of them is on disk before anything
// relies on it, so that a later agent can undo it.
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
    /** Namespaces in which something of ours is, or may be: by cookie, an earlier agent's too. */
    readonly changed: () => ReadonlyMap<bigint, ChangedNetns>;
    /** Lends a namespace until {@link restore} or the end; undefined: it is not open here. */
    readonly get: (cookie: bigint) => Netns | undefined;
    /** For the resolver: what is opened for its look stays open until {@link closeUnused}. */
    readonly lend: LendNetns;
    /** Takes the pod's namespace on, and opens it if it is not open any more; lent as by {@link get}. Idempotent. */
    readonly open: (pod: ServedPod) => Effect.Effect<Netns, PodNetnsError>;
    /**
     * Lets ztunnel dial the application from the client's address. Idempotent.
     * @param filterFd the tc program for the loopback
     * @returns what was not as it had to be
     */
    readonly plumb: (cookie: bigint, filterFd: number) => Effect.Effect<readonly string[], PodNetnsError>;
    /**
     * Gives back what was there before, and closes the namespace. Idempotent.
     * @param seen where it is, if it is not open; undefined: it is gone, and only forgotten
     */
    readonly restore: (cookie: bigint, seen: NetnsRef | undefined) => Effect.Effect<void, PodNetnsError>;
    /** Closes what was looked into, and is neither one of these nor changed. */
    readonly closeUnused: (served: ReadonlySet<bigint>) => Effect.Effect<void>;
  }
>()('@sluice/ambient-agent/pod-netns/PodNetns') {}

/**
 * Closes what is open with the scope; what was changed in the namespaces stays.
 * @param changed namespaces in which an earlier agent left something, by cookie
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
      /** Each once, by whatever path it was opened. */
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
            // Before anything is changed: a namespace that nobody remembers would keep what is in it for good.
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
              // What was in it has gone with it.
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
