// Serves /metrics (Prometheus text), /healthz and /readyz, if the configuration says where to listen.
import { rmSync } from 'node:fs';
import { createServer } from 'node:http';
import * as Effect from 'effect/Effect';
import * as Schedule from 'effect/Schedule';
import type * as Scope from 'effect/Scope';
import { StartupError } from '../failure/startup-error.js';
import { metrics } from './metrics.js';

/** `path`: of a Unix socket, which takes the place of one that was left there. */
export type ListenAt = { readonly host: string; readonly port: number } | { readonly path: string };

export interface MetricsServerOptions {
  /** Updates the gauges whose values are kept elsewhere. */
  readonly refresh: Effect.Effect<void>;
  /** Why the agent is not ready; empty if it is. */
  readonly whyNotReady: () => readonly string[];
}

// Prometheus's text exposition format, version 0.0.4.
const contentType = 'text/plain; version=0.0.4; charset=utf-8';

// Clients of the listener must not be able to use up the agent's file descriptors.
const MAX_CONNECTIONS = 64;

/** How long the former agent may take to let the address go, and how often to ask. */
const FREE_WITHIN_MS = 30_000;
const FREE_STEP_MS = 100;

/** The same as {@link serveMetrics}, as soon as the agent before this one has let the address go. */
export const serveMetricsOnceFree = (
  options: MetricsServerOptions & ListenAt,
): Effect.Effect<void, never, Scope.Scope> =>
  serveMetrics(options).pipe(
    Effect.retry({ schedule: Schedule.spaced(FREE_STEP_MS), times: FREE_WITHIN_MS / FREE_STEP_MS }),
    Effect.catch(({ message }) => Effect.andThen(metrics.error('metrics'), Effect.logError(message))),
    Effect.forkScoped,
    Effect.asVoid,
  );

/** Listens while the scope lasts, and logs where. Succeeds with the port, which differs from the given one if that is 0; 0 for a path. */
export const serveMetrics = ({
  refresh,
  whyNotReady,
  ...at
}: MetricsServerOptions & ListenAt): Effect.Effect<number, StartupError, Scope.Scope> =>
  Effect.gen(function* () {
    const server = createServer((request, response) => {
      const answer = (status: number, body: string): void => {
        const allow = status === 405 ? { allow: 'GET, HEAD' } : {};
        response.writeHead(status, { 'content-type': contentType, connection: 'close', ...allow });
        response.end(body);
      };
      // A scraper may be configured to send parameters.
      const path = request.url?.split('?', 1)[0];
      if (request.method !== 'GET' && request.method !== 'HEAD') answer(405, 'only GET and HEAD\n');
      else if (path === '/healthz') answer(200, 'ok\n');
      else if (path === '/readyz') {
        const reasons = whyNotReady();
        answer(reasons.length === 0 ? 200 : 503, reasons.length === 0 ? 'ready\n' : `${reasons.join('\n')}\n`);
      } else if (path !== '/metrics') answer(404, 'only /metrics, /healthz and /readyz are served\n');
      else {
        // This module is imported only when it is needed, because it loads all of Effect's HTTP.
        const text = Effect.gen(function* () {
          const { format } = yield* Effect.promise(() => import('effect/observability/PrometheusMetrics'));
          yield* refresh;
          return yield* format();
        });
        Effect.runPromise(text).then(
          (body) => answer(200, body),
          (error: unknown) => answer(500, `${String(error)}\n`),
        );
      }
    });
    server.maxConnections = MAX_CONNECTIONS;
    const listening = Effect.callback<void, StartupError>((resume) => {
      const fail = (error: Error): void => {
        const [where, setting] =
          'path' in at ? [at.path, 'metrics.socket'] : [`${at.host} port ${at.port}`, 'metrics.listen'];
        const message = `metrics cannot be served at ${where}: ${error.message}; change \`${setting}\``;
        resume(Effect.fail(new StartupError({ check: 'metrics', message })));
      };
      server.once('error', fail);
      if ('path' in at) rmSync(at.path, { force: true });
      server.listen('path' in at ? { path: at.path } : at, () => {
        server.off('error', fail);
        // A connection that could not be accepted is a problem of its client, and must not end the agent.
        server.on('error', () => {});
        resume(Effect.void);
      });
    });
    yield* Effect.acquireRelease(listening, () => Effect.sync(() => void server.close()));
    const address = server.address();
    const port = isObject(address) ? address.port : 0;
    yield* Effect.logInfo('metrics are served', 'path' in at ? at : { host: at.host, port });
    return port;
  });

const isObject = <T>(value: T): value is T & object => typeof value === 'object' && value !== null;
