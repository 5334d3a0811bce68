// Serves /metrics (Prometheus text), /healthz and /readyz, only where the configuration says to listen.
import { createServer } from 'node:http';
import * as Effect from 'effect/Effect';
import type * as Scope from 'effect/Scope';
import { StartupError } from '../node/startup-error.js';

export interface MetricsServerOptions {
  readonly host: string;
  readonly port: number;
  /** Brings gauges that are read from elsewhere up to date. */
  readonly refresh: Effect.Effect<void>;
  readonly isReady: () => boolean;
}

// Prometheus's text exposition format, version 0.0.4.
const contentType = 'text/plain; version=0.0.4; charset=utf-8';

/** Listens for as long as the scope lasts; the port that was bound (the one asked for, unless that was 0). */
export const serveMetrics = ({
  host,
  port,
  refresh,
  isReady,
}: MetricsServerOptions): Effect.Effect<number, StartupError, Scope.Scope> =>
  Effect.gen(function* () {
    const server = createServer((request, response) => {
      const answer = (status: number, body: string): void => {
        response.writeHead(status, { 'content-type': contentType, connection: 'close' });
        response.end(body);
      };
      if (request.method !== 'GET') answer(405, 'only GET\n');
      else if (request.url === '/healthz') answer(200, 'ok\n');
      else if (request.url === '/readyz')
        answer(isReady() ? 200 : 503, isReady() ? 'ready\n' : 'no reconciliation has succeeded yet\n');
      else if (request.url !== '/metrics') answer(404, 'there is /metrics, /healthz and /readyz\n');
      else {
        // Loaded when first asked for: it brings the whole of Effect's HTTP with it.
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
    const listening = Effect.callback<number, StartupError>((resume) => {
      const fail = (error: Error): void => {
        const message = `metrics cannot be served at ${host} port ${port}: ${error.message}; change \`metrics.listen\``;
        resume(Effect.fail(new StartupError({ check: 'metrics', message })));
      };
      server.once('error', fail);
      server.listen(port, host, () => {
        server.off('error', fail);
        const address = server.address();
        resume(Effect.succeed(typeof address === 'object' && address !== null ? address.port : port));
      });
    });
    return yield* Effect.acquireRelease(listening, () => Effect.sync(() => void server.close()));
  });
