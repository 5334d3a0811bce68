// A file of the run directory that the next agent and the commands read. Readers see the former file or the new one,
// never a part, and accept only what this version writes. The agent puts anything else aside and goes on without it.
import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { errorCode } from '@sluice/linux';
import * as Effect from 'effect/Effect';
import * as Result from 'effect/Result';
import * as Schema from 'effect/Schema';
import { describeIssue } from '../config/schema-issue.js';
import { messageOf } from '../failure/message-of.js';
import { metrics } from '../observe/metrics.js';

/** An id or a cookie of 64 bits, as text because a JSON number in JavaScript has room for 53. */
export const Decimal = Schema.String.check(Schema.isPattern(/^\d+$/));

export type Reading<Value> =
  | { readonly kind: 'kept'; readonly value: Value }
  | { readonly kind: 'absent' }
  | { readonly kind: 'unusable'; readonly why: string };

/** A crash loop must not fill the directory, which is a tmpfs on most machines; the newest files are enough. */
const PUT_ASIDE_AT_MOST = 3;

export class KeptFile<Value> {
  readonly path: string;
  readonly #text: Schema.Codec<Value, string>;

  /**
   * @param text decodes the whole file, without the newline at its end. A JSON file has a `version`, which is raised when readers of
   * the former form would go wrong
   */
  constructor(path: string, text: Schema.Codec<Value, string>) {
    this.path = path;
    this.#text = text;
  }

  /** Changes nothing and never throws. */
  read(): Reading<Value> {
    let text: string;
    try {
      text = readFileSync(this.path, 'utf8').trimEnd();
    } catch (error) {
      return errorCode(error) === 'ENOENT' ? { kind: 'absent' } : { kind: 'unusable', why: messageOf(error) };
    }
    const decoded = Schema.decodeUnknownResult(this.#text)(text);
    if (Result.isSuccess(decoded)) return { kind: 'kept', value: decoded.success };
    const issues = describeIssue(decoded.failure.issue).map((issue) =>
      [issue.path, issue.text].filter(Boolean).join(': '),
    );
    return { kind: 'unusable', why: `it is not what this version of Sluice writes (${issues.join('; ')})` };
  }

  /** Writes the file with mode 0600. Throws the file system's error; the former file stays then. */
  replace(value: Value): void {
    // There is one writer at a time, because the agent holds the run directory's lock.
    const temporary = `${this.path}.new`;
    try {
      // There is no fsync: the file is for readers of this boot, its directory is a tmpfs on most machines, and fsync would hold up a pass.
      writeFileSync(temporary, `${Schema.encodeSync(this.#text)(value)}\n`, { mode: 0o600 });
      renameSync(temporary, this.path);
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    }
  }

  /** For the agent: the kept value, or undefined. A file that cannot be used is put aside. */
  readonly recall: Effect.Effect<Value | undefined> = Effect.suspend(() => {
    const reading = this.read();
    if (reading.kind === 'unusable') return Effect.as(this.putAside(reading.why), undefined);
    return Effect.succeed(reading.kind === 'kept' ? reading.value : undefined);
  });

  /** Renames the file, logs and counts it. Never fails: a file that cannot be renamed is replaced by the next write. */
  putAside(why: string): Effect.Effect<void> {
    return Effect.suspend(() => {
      const aside = `${this.#asidePrefix}${new Date().toISOString()}`;
      let fate = `it is kept as ${aside}`;
      try {
        renameSync(this.path, aside);
        for (const old of this.#putAside().slice(0, -PUT_ASIDE_AT_MOST)) rmSync(old, { recursive: true, force: true });
      } catch (error) {
        fate = `it cannot be put aside (${messageOf(error)})`;
      }
      const line = `${this.path} cannot be used: ${why}; ${fate}, and the agent goes on without it`;
      return Effect.andThen(metrics.error('damaged-file'), Effect.logWarning(line));
    });
  }

  /** All paths that may exist in the directory because of this file. */
  get traces(): string[] {
    // An agent that is killed while it writes leaves a part of the file.
    return [this.path, `${this.path}.new`, ...this.#putAside()];
  }

  get #asidePrefix(): string {
    return `${this.path}.damaged-`;
  }

  /** The oldest first, because their names end in the time. */
  #putAside(): string[] {
    const directory = dirname(this.path);
    if (!existsSync(directory)) return [];
    return readdirSync(directory)
      .filter((name) => name.startsWith(basename(this.#asidePrefix)))
      .toSorted()
      .map((name) => join(directory, name));
  }
}
