// Serves /metrics (Prometheus text), /healthz and /readyz, if the configuration says where to listen.
import { createServer } from 'node:http';
import * as Effect from 'effect/Effect';
import type * as Scope from 'effect/Scope';
import { StartupError } from '../failure/startup-error.js';

export interface MetricsServerOptions {
  readonly host: string;
  readonly port: number;
  /** Updates the gauges whose values are kept elsewhere. */
  readonly refresh: Effect.Effect<void>;
  /** Why the agent is not ready; empty if it is. */
  readonly whyNotReady: () => readonly string[];
}

// Prometheus's text exposition format, version 0.0.4.
const contentType = 'text/plain; version=0.0.4; charset=utf-8';

// Clients of the listener must not be able to use up the agent's file descriptors.
const MAX_CONNECTIONS = 64;

/** Listens while the scope lasts. Succeeds with the port that was bound, which differs from the given one if that is 0. */
export const serveMetrics = ({
  host,
  port,
  refresh,
  whyNotReady,
}: MetricsServerOptions): Effect.Effect<number, StartupError, Scope.Scope> =>
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
    const listening = Effect.callback<number, StartupError>((resume) => {
      const fail = (error: Error): void => {
        const message = `metrics cannot be served at ${host} port ${port}: ${error.message}; change \`metrics.listen\``;
        resume(Effect.fail(new StartupError({ check: 'metrics', message })));
      };
      server.once('error', fail);
      server.listen(port, host, () => {
        server.off('error', fail);
        // A connection that could not be accepted is a problem of its client, and must not end the agent.
        server.on('error', () => {});
        const address = server.address();
        resume(Effect.succeed(typeof address === 'object' && address !== null ? address.port : port));
      });
    });
    return yield* Effect.acquireRelease(listening, () => Effect.sync(() => void server.close()));
  });
