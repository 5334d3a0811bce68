// One open watch: a chunked answer of JSON lines, which can be made to misbehave.
import type { ServerResponse } from 'node:http';
import type { ObjectStore, Revision } from './object-store.js';
import { apiVersion, type ApiObject, type Resource } from './resources.js';
import type { Match } from './selectors.js';
import { tooOldResourceVersion } from './status.js';

export interface WatchOptions {
  readonly resource: Resource;
  readonly from: number;
  readonly matches: Match;
  readonly timeoutMs: number;
  /** undefined: none. */
  readonly bookmarkEveryMs: number | undefined;
}

interface WatchEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  readonly object: unknown;
}

export class WatchStream {
  readonly resource: Resource;
  readonly #store: ObjectStore;
  readonly #response: ServerResponse;
  readonly #matches: Match;
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #unlisten: () => void;
  readonly #onEnd: () => void;
  #silent = false;
  #corruptNext = false;
  #ended = false;

  constructor(store: ObjectStore, response: ServerResponse, options: WatchOptions, onEnd: () => void) {
    this.resource = options.resource;
    this.#store = store;
    this.#response = response;
    this.#matches = options.matches;
    this.#onEnd = onEnd;
    response.on('close', () => this.#close());
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    for (const change of store.since(options.from, options.resource)) this.#send(change);
    this.#unlisten = store.listen((change) => {
      if (change.resource === this.resource && change.revision > options.from) this.#send(change);
    });
    if (options.bookmarkEveryMs !== undefined)
      this.#timers.push(setInterval(() => this.bookmark(), options.bookmarkEveryMs));
    this.#timers.push(
      setTimeout(() => {
        if (options.bookmarkEveryMs !== undefined) this.bookmark();
        this.end();
      }, options.timeoutMs),
    );
  }

  bookmark(): void {
    const object = {
      kind: this.resource.kind,
      apiVersion: apiVersion(this.resource),
      metadata: { resourceVersion: String(this.#store.revision), creationTimestamp: null },
    };
    this.#event({ type: 'BOOKMARK', object });
  }

  /** An orderly end, as after `timeoutSeconds`. */
  end(): void {
    if (this.#silent) return;
    this.#response.end();
    this.#close();
  }

  /** Nothing more comes, and the connection stays open: this is how a client sees a server behind a dead link. */
  silence(): void {
    this.#silent = true;
  }

  /** Cuts the connection. */
  drop(): void {
    this.#response.socket?.destroy();
    this.#close();
  }

  /** Sends a line that is not JSON, and goes on. */
  garbage(line = '\u0000\u00ff{"type":]'): void {
    this.#write(`${line}\n`);
  }

  /** The line of the next event loses a byte. */
  corrupt(): void {
    this.#corruptNext = true;
  }

  /** Sends the beginning of an event, and ends in an orderly way in the middle of it. */
  truncate(): void {
    this.#write('{"type":"MODIFIED","object":{"kind":"Pod","metadata":{"name":"tru');
    this.end();
  }

  /** Sends the last changes once more. */
  duplicate(count: number): void {
    for (const change of this.#store.last(count, this.resource)) this.#send(change);
  }

  /** Sends 410 as an event, and ends. */
  gone(): void {
    this.#event({ type: 'ERROR', object: tooOldResourceVersion('1', String(this.#store.revision)) });
    this.end();
  }

  /** Sends the given event. */
  send(type: WatchEvent['type'], object: unknown): void {
    this.#event({ type, object });
  }

  /** If an object begins or ceases to match, that is an ADDED or a DELETED event (storage/cacher/cache_watcher.go). */
  #send({ before, after, revision }: Revision): void {
    const was = before !== undefined && this.#matches(before);
    const is = after !== undefined && this.#matches(after);
    if (is) this.#event({ type: was ? 'MODIFIED' : 'ADDED', object: after });
    else if (was) this.#event({ type: 'DELETED', object: atRevision(before, revision) });
  }

  #event(event: WatchEvent): void {
    const line = JSON.stringify(event);
    // It loses the quotation mark that ends the key "type": the rest is not JSON.
    this.#write(`${this.#corruptNext ? line.slice(0, 6) + line.slice(7) : line}\n`);
    this.#corruptNext = false;
  }

  #write(text: string): void {
    if (!this.#silent && !this.#ended) this.#response.write(text);
  }

  #close(): void {
    if (this.#ended) return;
    this.#ended = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#unlisten();
    this.#onEnd();
  }
}

/** A DELETED event carries the last state, and the revision of the deletion. */
export function atRevision(object: ApiObject, revision: number): ApiObject {
  return { ...object, metadata: { ...object.metadata, resourceVersion: String(revision) } };
}
