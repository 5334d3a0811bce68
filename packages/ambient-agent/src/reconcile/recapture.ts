// The datapath captures ztunnel's listeners when they begin to listen. This file takes from ztunnel's process those that are older than the
// maps, and those that somebody has taken out of the map or replaced there by another socket, and reports a pod for which ztunnel does not
// listen although it acknowledged the pod.
import { listeningSockets, type ListeningSocket } from '@sluice/linux';
import { isDeepStrictEqual } from 'node:util';
import * as Effect from 'effect/Effect';
import type { ServedPod } from '../enrolment/served.js';
import { messageOf } from '../failure/message-of.js';
import { Enforcement, LISTENER_PORTS } from '../node/enforcement.js';
import { Zds } from '../zds/zds.js';
import type { Repair } from './missing.js';
import { shareAddress } from './share-address.js';

/** The captured listeners at the end of the last pass, by the cookies of their namespaces: SO_COOKIE by port. */
export type SeenListeners = Map<bigint, ReadonlyMap<number, bigint>>;

export interface Recaptured {
  /** What is still missing, by UID. */
  readonly unheard: ReadonlyMap<string, string>;
  /** What somebody else had taken out of the map, or replaced. */
  readonly repaired: readonly Repair[];
  /** Whether a listener is in the map now that was not when the pass decided who waits. */
  readonly hasCaptured: boolean;
}

/** A listener that is not in the map, or is another one than before. */
interface Doubtful {
  readonly pod: ServedPod;
  readonly port: number;
  readonly before: bigint | undefined;
  readonly present: bigint | undefined;
}

/**
 * Looks into ztunnel's process only if a listener is missing or is another one than before.
 * @param pods those that ztunnel has acknowledged
 * @param seen of the last pass; becomes that of this one
 */
export const recapture = Effect.fnUntraced(function* (pods: readonly ServedPod[], seen: SeenListeners) {
  const enforcement = yield* Enforcement;
  const connections = (yield* Zds).connections();
  const problems: string[] = [];
  const repaired: Repair[] = [];
  let hasCaptured = false;
  let doubtful = yield* doubtfulOf(pods, seen);
  if (doubtful.some(({ present }) => present !== undefined)) {
    const sockets = new Set<bigint>();
    for (const { pid } of connections)
      yield* withListeners(pid, (found) => {
        for (const { socketCookie } of found) sockets.add(socketCookie);
        return Effect.void;
      }).pipe(Effect.catch(({ message }) => Effect.sync(() => void problems.push(message))));
    // One that cannot be told from ztunnel's stays.
    doubtful = doubtful.filter(
      ({ present }) => present === undefined || (problems.length === 0 && !sockets.has(present)),
    );
  }
  // The newest ztunnel comes first, because it is to have the new connections.
  for (const { pid, isSynced } of connections.toReversed()) {
    if (doubtful.length === 0 || !isSynced) continue;
    const capture = Effect.fnUntraced(function* (found: readonly ListeningSocket[]) {
      for (const one of doubtful) {
        const { pod, port, before, present } = one;
        const socket = found.find((each) => each.port === port && each.netnsCookie === pod.cookie);
        if (socket === undefined) continue;
        yield* sharing(socket.fd);
        yield* enforcement.captureListener(pod.cookie, port, socket.fd);
        hasCaptured = true;
        doubtful = doubtful.filter((other) => other !== one);
        if (present === undefined && before !== socket.socketCookie) continue;
        const what = `ztunnel’s listener at port ${port} of pod ${pod.namespace}/${pod.name} in the map listeners`;
        repaired.push({ kind: 'entry', what });
      }
    });
    yield* withListeners(pid, capture).pipe(
      Effect.catch(({ message }) => Effect.sync(() => void problems.push(message))),
    );
  }
  seen.clear();
  const unheard = new Map<string, string>();
  const why = problems.length === 0 ? '' : ` (${problems.join('; ')})`;
  for (const { uid, cookie } of pods) {
    const now = yield* enforcement.listeners(cookie);
    seen.set(cookie, now);
    const where = LISTENER_PORTS.filter((port) => !now.has(port)).join(' and ');
    if (where !== '')
      unheard.set(
        uid,
        `ztunnel does not listen for it at port ${where}${why}: new connections that need it wait, or are refused, as \`sluice explain\` says; ztunnel’s log may say why`,
      );
  }
  return { unheard, repaired, hasCaptured } satisfies Recaptured;
});

/** Whether the kernel, ztunnel or somebody else has taken a listener out of the map since the last pass, or put another one there. */
export const areListenersOther = Effect.fnUntraced(function* (seen: SeenListeners) {
  const enforcement = yield* Enforcement;
  for (const [cookie, before] of seen)
    if (!isDeepStrictEqual(yield* enforcement.listeners(cookie), before)) return true;
  return false;
});

const doubtfulOf = Effect.fnUntraced(function* (pods: readonly ServedPod[], seen: SeenListeners) {
  const enforcement = yield* Enforcement;
  const doubtful: Doubtful[] = [];
  for (const pod of pods) {
    const now = yield* enforcement.listeners(pod.cookie);
    for (const port of LISTENER_PORTS) {
      const [before, present] = [seen.get(pod.cookie)?.get(port), now.get(port)];
      if (present === undefined || (before !== undefined && before !== present))
        doubtful.push({ pod, port, before, present });
    }
  }
  return doubtful;
});

/** Lends the sockets at which a process listens on ztunnel's ports. */
const withListeners = <A, E, R>(
  pid: number,
  use: (found: readonly ListeningSocket[]) => Effect.Effect<A, E, R>,
): Effect.Effect<A, E | { readonly message: string }, R> =>
  Effect.acquireUseRelease(
    Effect.try({
      try: () => listeningSockets(pid, { ports: LISTENER_PORTS }),
      catch: (error) => ({ message: messageOf(error) }),
    }),
    use,
    (found) =>
      Effect.sync(() => {
        for (const socket of found) socket.close();
      }),
  );

const sharing = (fd: number): Effect.Effect<void, { readonly message: string }> =>
  Effect.try({ try: () => shareAddress(fd), catch: (error) => ({ message: messageOf(error) }) });
