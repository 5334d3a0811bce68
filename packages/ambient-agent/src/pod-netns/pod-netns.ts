// The network namespaces of pods as a service of the agent: found once, held open, changed and given back. What is changed
// in which of them is on disk before anything relies on it, so that a later agent can undo it.
import type { NetnsRef } from '@sluice/cgroup-resolver';
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
    /** Opens the pod's namespace, if it is the one that was seen, and lends it as {@link get} does. Idempotent. */
    readonly open: (pod: ServedPod) => Effect.Effect<Netns, PodNetnsError>;
    /**
     * Lets ztunnel dial the application from the client's address. Idempotent.
     * @param filterFd the tc program for the loopback
     * @returns what was not as it had to be
     */
    readonly plumb: (cookie: bigint, filterFd: number) => Effect.Effect<readonly string[], PodNetnsError>;
    /**
     * Gives back what was there before, and closes the namespace. Idempotent.
     * @param seen where it is, if it was never opened here; undefined: it is gone, and only forgotten
     */
    readonly restore: (cookie: bigint, seen: NetnsRef | undefined) => Effect.Effect<void, PodNetnsError>;
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
      const forget = (cookie: bigint): void => {
        open.get(cookie)?.close();
        open.delete(cookie);
        if (changed.delete(cookie)) writeNetns(paths.runDir, changed);
      };
      /** The one that is open, or was seen and is still there. */
      const lasting = (cookie: bigint, seen: NetnsRef | undefined): Netns | undefined => {
        const known = open.get(cookie);
        if (known !== undefined || seen === undefined) return known;
        try {
          const netns = Netns.open(seen.path, cookie);
          open.set(cookie, netns);
          return netns;
        } catch (error) {
          if (error instanceof NetnsGoneError) return undefined;
          throw error;
        }
      };

      return PodNetns.of({
        changed: () => changed,
        get: (cookie) => open.get(cookie),
        open: ({ cookie, uid, podUid, netns }) =>
          attempt('open', () => {
            const known = open.get(cookie);
            if (known !== undefined) return known;
            if (netns === undefined) throw new Error(`the network namespace ${cookie} cannot be found now`);
            const opened = Netns.open(netns.path, cookie);
            open.set(cookie, opened);
            // Before anything is changed: a namespace that nobody remembers would keep what is in it for good.
            remember({ ...changed.get(cookie), cookie: String(cookie), uid, podUid });
            return opened;
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
            const netns = lasting(cookie, seen);
            if (netns !== undefined)
              removeOriginalSource(netns, { procPath: paths.proc, memory: changed.get(cookie)?.before });
            forget(cookie);
          }),
      });
    }),
  );
