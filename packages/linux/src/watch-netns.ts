// Notices that the rules, the routes, the addresses or the devices of a network namespace have changed (rtnetlink(7)).
import { systemCall } from './errors.js';
import { native, type NativeNetnsWatches } from './native.js';
import type { Netns } from './netns.js';

/**
 * 'devices': one has come, or goes up or down, with which the kernel takes its IPv4 routes without a word. 'lost': so much has changed that the kernel forgot to say what: look at everything.
 */
export type NetnsChange = 'rules' | 'routes' | 'addresses' | 'devices' | 'lost';

type OnChanges = (changes: ReadonlySet<NetnsChange>) => void;

/** Every watch of this thread; made at its first use. */
class Watches {
  readonly #callbacks = new Map<number, OnChanges>();
  readonly #native: NativeNetnsWatches;

  constructor() {
    this.#native = systemCall(
      () =>
        new native.NetnsWatches((all) => {
          for (const { watch, ...changes } of all) this.#deliver(watch, changes);
        }),
    );
  }

  open({ fd, path }: Netns, onChanges: OnChanges): Disposable {
    const watch = systemCall(() => this.#native.open(fd, path));
    this.#callbacks.set(watch, onChanges);
    return {
      [Symbol.dispose]: () => {
        if (this.#callbacks.delete(watch)) this.#native.close(watch);
      },
    };
  }

  #deliver(watch: number, changes: Readonly<Record<NetnsChange, boolean>>): void {
    const onChanges = this.#callbacks.get(watch);
    if (onChanges === undefined) return; // closed by the callback of another
    try {
      onChanges(
        new Set((['rules', 'routes', 'addresses', 'devices', 'lost'] as const).filter((change) => changes[change])),
      );
    } catch (error) {
      // It is an uncaught exception, as in any callback; the other namespaces have their turn first.
      queueMicrotask(() => {
        throw error;
      });
    }
  }
}

let watches: Watches | undefined;

/**
 * Calls back after every change, by whomever, until it is disposed of. Changes that were made before the callback runs are in
 * one set, however many they are; the callback looks at what is there now. A watch holds the namespace, even when the `netns`
 * is closed and its processes have ended, and does not keep this process alive.
 * @throws SystemCallError EMFILE; ENOSPC at fs.epoll.max_user_watches; EPERM without CAP_SYS_ADMIN.
 */
export function watchNetns(netns: Netns, onChanges: OnChanges): Disposable {
  return (watches ??= new Watches()).open(netns, onChanges);
}
