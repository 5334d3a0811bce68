// The datapath captures ztunnel's listeners when they begin to listen. This file takes listeners that are older than the maps
// from ztunnel's process, and reports a pod for which ztunnel does not listen although it acknowledged the pod.
import { listeningSockets } from '@sluice/linux';
import * as Effect from 'effect/Effect';
import type { ServedPod } from '../enrolment/served.js';
import { messageOf } from '../failure/message-of.js';
import { Enforcement, LISTENER_PORTS } from '../node/enforcement.js';
import { Zds } from '../zds/zds.js';
import { shareAddress } from './share-address.js';

/**
 * Looks into ztunnel's process only if a listener is missing.
 * @param pods those that ztunnel has acknowledged
 * @returns what is still missing, by UID
 */
export const recapture = Effect.fnUntraced(function* (pods: readonly ServedPod[]) {
  const enforcement = yield* Enforcement;
  const zds = yield* Zds;
  const missing = Effect.forEach(pods, ({ uid, cookie }) =>
    Effect.map(enforcement.missingListeners(cookie), (ports) => ({ uid, cookie, ports })),
  ).pipe(Effect.map((all) => all.filter(({ ports }) => ports.length > 0)));
  const problems: string[] = [];
  // The newest ztunnel comes first, because it is to have the new connections.
  for (const { pid, isSynced } of zds.connections().toReversed()) {
    const wanted = new Map((yield* missing).map(({ cookie, ports }) => [cookie, ports]));
    if (wanted.size === 0 || !isSynced) continue;
    yield* capture(pid, wanted).pipe(Effect.catch(({ message }) => Effect.sync(() => void problems.push(message))));
  }
  const why = problems.length === 0 ? '' : ` (${problems.join('; ')})`;
  return new Map(
    (yield* missing).map(({ uid, ports }) => {
      const where = `at port ${ports.join(' and ')}`;
      return [
        uid,
        `ztunnel does not listen for it ${where}${why}: new connections that need it wait, or are refused, as \`sluice explain\` says; ztunnel’s log may say why`,
      ];
    }),
  );
});

const capture = Effect.fnUntraced(function* (pid: number, wanted: ReadonlyMap<bigint, readonly number[]>) {
  const enforcement = yield* Enforcement;
  const found = yield* Effect.try({
    try: () => listeningSockets(pid, { ports: LISTENER_PORTS }),
    catch: (error) => ({ message: messageOf(error) }),
  });
  yield* Effect.forEach(
    found.filter(({ port, netnsCookie }) => wanted.get(netnsCookie)?.includes(port)),
    ({ fd, port, netnsCookie }) => Effect.andThen(sharing(fd), enforcement.captureListener(netnsCookie, port, fd)),
    { discard: true },
  ).pipe(
    Effect.ensuring(
      Effect.sync(() => {
        for (const socket of found) socket.close();
      }),
    ),
  );
});

const sharing = (fd: number): Effect.Effect<void, { readonly message: string }> =>
  Effect.try({ try: () => shareAddress(fd), catch: (error) => ({ message: messageOf(error) }) });
