// A server on a socket of its own that records its events; everything is closed afterwards. No test misses the server's
// deadline because the machine is slow: tests about the deadline call stopTheClock().
import { mkdtempSync, openSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { PATIENCE_MS } from '@sluice/testbed';
import { afterEach, beforeEach, vi } from 'vitest';
import { connectSeqpacket, type SeqpacketConnection } from '@sluice/linux';
import { ZdsServer, type LentNetns, type ZdsEvent, type ZdsServerOptions, type ZdsWorkload } from '../src/index.js';
import { ZdsClient, type Answer } from './zds-client.js';

/** Namespaces of this process, of other kinds: without root they serve as network namespaces where nothing enters them. */
const kinds = ['net', 'uts', 'ipc', 'mnt', 'user', 'cgroup', 'pid'] as const;
export const netnsPath = (index = 0): string => `/proc/self/ns/${kinds[index % kinds.length]}`;
export const inodeOf = (path: string): bigint => statSync(path, { bigint: true }).ino;

/** A namespace that stays open until its descriptor is closed; for other kinds than net, the inode serves as cookie. */
export function opened(path: string): LentNetns {
  return { fd: openSync(path, 'r'), cookie: inodeOf(path) };
}

const lent = new Map<string, LentNetns>();

/** A namespace that is open as long as the tests of a file run. */
export function netnsAt(index = 0): LentNetns {
  const path = netnsPath(index);
  const netns = lent.get(path) ?? opened(path);
  lent.set(path, netns);
  return netns;
}

export function workload(uid: string, netns: ZdsWorkload['netns'] = netnsAt()): ZdsWorkload {
  return { uid, name: `pod-${uid}`, namespace: 'shop', serviceAccount: 'clerk', netns };
}

export const DEADLINE_MS = PATIENCE_MS;

/**
 * From now on timers run only when missDeadline() is called: an answer that comes in time counts, however slow the machine is.
 * Undone after the test.
 */
export function stopTheClock(): { missDeadline(): Promise<void> } {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  return {
    async missDeadline() {
      // Until the server waits for a peer.
      while (vi.getTimerCount() === 0) await nextTurn();
      vi.advanceTimersByTime(DEADLINE_MS);
    },
  };
}

export interface Harness {
  readonly path: string;
  serve(workloads?: Iterable<ZdsWorkload>, options?: Partial<ZdsServerOptions>): ZdsServer;
  readonly events: ZdsEvent[];
  /** The first event that fits, past or future. */
  event<Kind extends ZdsEvent['kind']>(
    kind: Kind,
    fits?: (event: Extract<ZdsEvent, { kind: Kind }>) => boolean,
  ): Promise<Extract<ZdsEvent, { kind: Kind }>>;
  client(answer?: Answer, before?: ZdsClient): ZdsClient;
  /** A peer that sends nothing by itself. */
  rude(): SeqpacketConnection;
}

export function harness(): Harness {
  const state = { path: '', directory: '', events: [] as ZdsEvent[] };
  const servers: ZdsServer[] = [];
  const open: Disposable[] = [];
  const watchers = new Set<() => void>();

  beforeEach(() => {
    state.directory = mkdtempSync(join(tmpdir(), 'sluice-zds-'));
    state.path = join(state.directory, 'ztunnel.sock');
    state.events.length = 0;
  });
  afterEach(async () => {
    vi.useRealTimers();
    for (const one of open.splice(0)) one[Symbol.dispose]();
    for (const server of servers.splice(0)) await server.close();
    rmSync(state.directory, { recursive: true, force: true });
  });

  return {
    get path() {
      return state.path;
    },
    events: state.events,
    serve(workloads = [], options = {}) {
      const { server } = ZdsServer.listen({
        path: state.path,
        workloads,
        authorize: () => true,
        acceptsPerSecond: 1000,
        deadlineMs: DEADLINE_MS,
        allowOwnNetns: true,
        ...options,
      });
      servers.push(server);
      server.events.subscribe((event) => {
        state.events.push(event);
        for (const wake of watchers) wake();
      });
      return server;
    },
    async event(kind, fits = () => true) {
      for (;;) {
        for (const event of state.events) if (event.kind === kind && fits(event as never)) return event as never;
        await new Promise<void>((resolve) => {
          watchers.add(resolve);
        });
        watchers.clear();
      }
    },
    client(answer, before) {
      const client = ZdsClient.connect(state.path, {
        ...(answer === undefined ? {} : { answer }),
        ...(before === undefined ? {} : { before }),
      });
      open.push(client);
      return client;
    },
    rude() {
      const connection = connectSeqpacket(state.path);
      open.push(connection);
      return connection;
    },
  };
}
