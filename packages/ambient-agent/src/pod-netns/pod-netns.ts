// The network namespaces of pods as a service of the agent, which is their one owner. Each is opened when it is found, lent to
// every part that looks into it or changes it, and closed when it is restored. Changes are written to disk before anything
// relies on them, so that a later agent can undo them.
import type { LendNetns, NetnsRef } from '@sluice/cgroup-resolver';
import type { RoutedDevices } from '@sluice/datapath';
import { Netns, NetnsGoneError, type InterfaceAddress } from '@sluice/linux';
import * as Context from 'effect/Context';
import * as Effect from 'effect/Effect';
import * as Layer from 'effect/Layer';
import type { AgentConfig } from '../config/config.js';
import type { ServedPod } from '../enrolment/served.js';
import { messageOf } from '../failure/message-of.js';
import { PodNetnsError } from './errors.js';
import { writeNetns, type ChangedNetns } from './memory.js';
import { hasCaptureRules, type WantedCapture } from './netns-state.js';
import { OpenNetns, type AppliedState, type NetnsListener } from './open-netns.js';

/** What {@link PodNetns} did in a namespace. */
export type AppliedNetns = Omit<AppliedState, 'memory' | 'applied'>;

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
     * Lets ztunnel dial the application from the client's address, and captures what goes out as wanted. Adds and removes only
     * the difference. If it fails, what is there by then counts. Idempotent.
     */
    readonly apply: (cookie: bigint, capture: WantedCapture) => Effect.Effect<AppliedNetns, PodNetnsError>;
    /**
     * The ways whose marked connections reach ztunnel now, or fail because the namespace has no address to send them from.
     * None before {@link apply}, and after `lost` until the next one.
     */
    readonly routed: (cookie: bigint) => RoutedDevices;
    /** Why the pod cannot be captured by route, in words; undefined if nothing in its open namespace is in the way. */
    readonly inTheWay: (cookie: bigint) => Effect.Effect<string | undefined, PodNetnsError>;
    /** Whether an open namespace has rules that capture marked connections, of this agent or an earlier one. */
    readonly hasCaptureRules: (cookie: bigint) => Effect.Effect<boolean, PodNetnsError>;
    /** What an open namespace holds now. */
    readonly addresses: (cookie: bigint) => Effect.Effect<readonly InterfaceAddress[], PodNetnsError>;
    /** The sysctls of an open namespace that {@link apply} has turned on and somebody else off. */
    readonly switchedOff: (cookie: bigint) => Effect.Effect<readonly string[], PodNetnsError>;
    /** Replaces the one that hears of changes in open namespaces. */
    readonly listen: (listener: NetnsListener) => void;
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
      const open = new Map<bigint, OpenNetns>();
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          for (const one of open.values()) one.close();
        }),
      );
      let listener: NetnsListener = { lost: () => {}, changed: () => {} };
      const told: NetnsListener = {
        lost: (cookie) => listener.lost(cookie),
        changed: (cookie) => listener.changed(cookie),
      };
      const attempt = <A>(step: PodNetnsError['step'], run: () => A): Effect.Effect<A, PodNetnsError> =>
        Effect.try({ try: run, catch: (error) => new PodNetnsError({ step, message: messageOf(error) }) });
      /** Whether the disk may lack something that {@link changed} has, because it could not be written. */
      let isUnwritten = false;
      const write = (): void => {
        isUnwritten = true;
        writeNetns(paths.runDir, changed);
        isUnwritten = false;
      };
      /** Keeps the entry also if it cannot be written: only the first change finds out what was there before. */
      const remember = (entry: ChangedNetns): void => {
        const cookie = BigInt(entry.cookie);
        const isNews = JSON.stringify(changed.get(cookie)) !== JSON.stringify(entry);
        changed.set(cookie, entry);
        if (isNews || isUnwritten) write();
      };
      const close = (cookie: bigint): void => {
        open.get(cookie)?.close();
        open.delete(cookie);
      };
      const forget = (cookie: bigint): void => {
        close(cookie);
        const entry = changed.get(cookie);
        if (entry === undefined) return;
        changed.delete(cookie);
        try {
          write();
        } catch (error) {
          // It is still on disk, and forgotten when that can be written.
          changed.set(cookie, entry);
          throw error;
        }
      };
      /** Keeps one open object per namespace, whatever path it was opened by. */
      const keep = (netns: Netns): OpenNetns => {
        const known = open.get(netns.cookie);
        if (known !== undefined) {
          netns.close();
          return known;
        }
        const added = new OpenNetns(netns, { ipv6: ambient.ipv6, procPath: paths.proc }, told);
        open.set(netns.cookie, added);
        return added;
      };
      const held = (cookie: bigint, seen: NetnsRef | undefined): OpenNetns | undefined =>
        open.get(cookie) ?? (seen === undefined ? undefined : keep(Netns.open(seen.path, cookie)));
      const opened = (cookie: bigint): OpenNetns => {
        const one = open.get(cookie);
        if (one === undefined) throw new Error(`the network namespace ${cookie} is not open`);
        return one;
      };

      return PodNetns.of({
        changed: () => changed,
        get: (cookie) => open.get(cookie)?.netns,
        lend: (path, identity, look) => {
          const known = [...open.values()].find(({ netns }) => netns.identity === identity);
          return look((known ?? keep(Netns.open(path))).netns);
        },
        open: ({ cookie, uid, podUid, netns: seen }) =>
          attempt('open', () => {
            const one = held(cookie, seen);
            if (one === undefined) throw new Error(`the network namespace ${cookie} cannot be found now`);
            // This comes before any change, because a namespace that nobody remembers would never be restored.
            remember({ ...changed.get(cookie), cookie: String(cookie), uid, podUid });
            return one.netns;
          }),
        apply: (cookie, capture) =>
          attempt('apply', () => {
            const one = opened(cookie);
            const entry = changed.get(cookie);
            if (entry === undefined) throw new Error(`nothing is written down of the network namespace ${cookie}`);
            const { memory, applied: _applied, ...applied } = one.apply(capture, entry.before);
            remember({ ...entry, before: memory });
            return applied;
          }),
        routed: (cookie) => open.get(cookie)?.routed ?? new Map(),
        inTheWay: (cookie) => attempt('look', () => opened(cookie).inTheWay()),
        hasCaptureRules: (cookie) => attempt('look', () => hasCaptureRules(opened(cookie).netns)),
        addresses: (cookie) => attempt('look', () => opened(cookie).addresses()),
        switchedOff: (cookie) => attempt('look', () => opened(cookie).switchedOff()),
        listen: (one) => {
          listener = one;
        },
        restore: (cookie, seen) =>
          attempt('restore', () => {
            try {
              held(cookie, seen)?.restore(changed.get(cookie)?.before);
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
