// Whether the listeners to which pods are captured are IP_TRANSPARENT, which a route needs. ztunnel decides that for the whole process
// (ENABLE_ORIG_SRC), so that one look at each connected ztunnel is enough: when it has acknowledged its first pod, because it
// listens by then, and before that pod is in the mesh.
import { ZTUNNEL_OUTBOUND_PORT } from '@sluice/datapath';
import { getSockOpt, listeningSockets } from '@sluice/linux';
import type { ListenerSight } from '../enrolment/capture.js';
import { messageOf } from '../failure/message-of.js';
import type { ZdsFacts } from '../zds/zds.js';
import { shareAddress } from './share-address.js';

// linux/in.h. One option for both families.
const SOL_IP = 0;
const IP_TRANSPARENT = 19;

type Look = (pid: number, netns: ReadonlySet<bigint>) => ListenerSight;

/**
 * @param pid of a ztunnel
 * @param netns cookies of the namespaces of pods that it has acknowledged: it sets the option when the socket listens already, and
 * may be about to for other pods
 */
export const seeListener: Look = (pid, netns) => {
  try {
    const sockets = listeningSockets(pid, { ports: [ZTUNNEL_OUTBOUND_PORT] });
    try {
      // An earlier release has captured them without that option.
      for (const { fd } of sockets) shareAddress(fd);
      const acknowledged = sockets.filter(({ netnsCookie }) => netns.has(netnsCookie));
      if (acknowledged.length === 0) return { unseen: `process ${pid} does not listen there` };
      return acknowledged.every(({ fd }) => getSockOpt(fd, SOL_IP, IP_TRANSPARENT, 4).readInt32LE() !== 0)
        ? 'transparent'
        : 'not-transparent';
    } finally {
      for (const socket of sockets) socket.close();
    }
  } catch (error) {
    return { unseen: messageOf(error) };
  }
};

const isSeen = (sight: ListenerSight | undefined): boolean => sight === 'transparent' || sight === 'not-transparent';

export class ListenerSights {
  readonly #look: Look;
  /** By the number of its connection, while it is connected. */
  readonly #ofZtunnels = new Map<number, ListenerSight>();
  /** By the cookie of the network namespace. */
  #ofNetns: ReadonlyMap<bigint, ListenerSight>;
  #latest: ListenerSight | undefined;

  /** @param before cookies of the namespaces whose pods an earlier agent captured by route */
  constructor(before: ReadonlySet<bigint>, look: Look = seeListener) {
    this.#ofNetns = new Map([...before].map((cookie) => [cookie, 'transparent']));
    this.#latest = before.size > 0 ? 'transparent' : undefined;
    this.#look = look;
  }

  /** What was seen of the newest ztunnel of which anything was seen, connected or not. */
  get latest(): ListenerSight | undefined {
    return this.#latest;
  }

  /**
   * By the cookies of the acknowledged pods' network namespaces. A pod whose ztunnel is not connected keeps what was seen, so that it
   * is not captured in another way while ztunnel or the agent starts again.
   * @param isThorough whether to look again at what could not be seen
   */
  update({ acknowledged, acknowledgedBy }: ZdsFacts, isThorough: boolean): ReadonlyMap<bigint, ListenerSight> {
    const connected = new Map<number, { readonly pid: number; readonly netns: Set<bigint> }>();
    for (const [uid, { connection, pid }] of acknowledgedBy) {
      const cookie = acknowledged.get(uid);
      const { netns } = connected.get(connection) ?? { netns: new Set() };
      connected.set(connection, { pid, netns: cookie === undefined ? netns : netns.add(cookie) });
    }
    for (const [connection, sight] of this.#ofZtunnels)
      if (!connected.has(connection) || (isThorough && !isSeen(sight))) this.#ofZtunnels.delete(connection);
    for (const [connection, { pid, netns }] of connected)
      if (!this.#ofZtunnels.has(connection)) this.#ofZtunnels.set(connection, this.#look(pid, netns));
    const newest = Math.max(...this.#ofZtunnels.keys());
    this.#latest = this.#ofZtunnels.get(newest) ?? this.#latest;
    this.#ofNetns = new Map(
      [...acknowledged].flatMap(([uid, cookie]) => {
        const connection = acknowledgedBy.get(uid)?.connection;
        const sight = connection === undefined ? this.#ofNetns.get(cookie) : this.#ofZtunnels.get(connection);
        return sight === undefined ? [] : [[cookie, sight] as const];
      }),
    );
    return this.#ofNetns;
  }
}
