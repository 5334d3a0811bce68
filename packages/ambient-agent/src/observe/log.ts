// Writes log lines to standard output: JSON for machines (one object per line, with `time`, `level`, `msg`), or text for people.
import * as Effect from 'effect/Effect';
import * as Layer from 'effect/Layer';
import * as Logger from 'effect/Logger';
import * as References from 'effect/References';
import * as Cause from 'effect/Cause';
import type { AgentConfig } from '../config/config.js';
import { logLevels, type LogLevel } from '../config/log-levels.js';

/** The lowest level that is logged at this moment. */
export class LogThreshold {
  level: LogLevel;
  readonly configured: LogLevel;

  constructor(configured: LogLevel) {
    this.configured = configured;
    this.level = configured;
  }

  /** Logs a line at whatever level is in force, such as the news that the level was changed. */
  always(text: string): Effect.Effect<void> {
    return { debug: Effect.logDebug, info: Effect.logInfo, warn: Effect.logWarning, error: Effect.logError }[
      this.level
    ](text);
  }

  /** @param level its name in Effect */
  admits(level: string): boolean {
    const place = logLevels.findIndex((name) => name === level.toLowerCase());
    // Effect has levels above and below that the agent does not use.
    return place < 0 ? level === 'Fatal' : place >= logLevels.indexOf(this.level);
  }
}

interface LogRecord {
  readonly msg: string;
  readonly fields: Record<string, unknown>;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The text parts become the message, and the objects its fields. Pure. */
export function recordOf(message: unknown): LogRecord {
  const parts = Array.isArray(message) ? (message as unknown[]) : [message];
  const fields: Record<string, unknown> = {};
  const words: string[] = [];
  for (const part of parts) {
    if (part instanceof Error) words.push(part.message);
    else if (isRecord(part)) Object.assign(fields, part);
    else words.push(String(part));
  }
  return { msg: words.join(' '), fields };
}

const plain = (_key: string, value: unknown): unknown => (typeof value === 'bigint' ? String(value) : value);

const jsonLine = (time: Date, level: string, { msg, fields }: LogRecord): string =>
  JSON.stringify({ time: time.toISOString(), level, msg, ...fields }, plain);

const prettyLine = (time: Date, level: string, { msg, fields }: LogRecord): string => {
  const rest = Object.entries(fields).map(
    ([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value, plain)}`,
  );
  return [time.toISOString().slice(11, 23), level.toUpperCase().padEnd(5), msg, ...rest].join(' ');
};

/** The logger that the configuration asks for; the threshold may change while it logs. */
export const logging = (
  { level, format }: AgentConfig['log'],
  write: (line: string) => void = writeLine,
  threshold = new LogThreshold(level),
): Layer.Layer<never> =>
  Layer.mergeAll(
    Logger.layer([
      Logger.make(({ message, logLevel, date, cause }) => {
        if (!threshold.admits(logLevel)) return;
        const record = recordOf(message);
        const fields = cause.reasons.length === 0 ? record.fields : { ...record.fields, cause: Cause.pretty(cause) };
        const line = format === 'json' ? jsonLine : prettyLine;
        write(line(date, logLevel.toLowerCase(), { msg: record.msg, fields }));
      }),
    ]),
    Layer.succeed(References.MinimumLogLevel, 'All'),
  );

// A reader that stopped reading must not fill the agent's memory.
const MAX_UNREAD_BYTES = 1 << 20;

function writeLine(line: string): void {
  if (process.stdout.writableLength < MAX_UNREAD_BYTES) process.stdout.write(`${line}\n`);
}
