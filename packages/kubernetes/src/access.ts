// The address of the API server, and the credentials of a request to it.
import type { Agent } from 'node:http';

export interface Credentials {
  /** `authorization` and the like. */
  readonly headers: Readonly<Record<string, string>>;
  /** PEM; the options of tls.connect. */
  readonly tls: {
    readonly ca?: string | Buffer;
    readonly cert?: string | Buffer;
    readonly key?: string | Buffer;
    readonly servername?: string;
    readonly rejectUnauthorized?: boolean;
  };
  /** Set only if a proxy makes the connections. */
  readonly proxy?: Agent;
}

export interface ApiAccess {
  /** Such as `https://10.96.0.1:443`; a path after it is kept. */
  readonly server: string;
  /** Called before every request, so that credentials that were rotated on disk are used at once. */
  credentials(): Promise<Credentials>;
  /** Called when the last credentials got 401: everything cached has to be read again. */
  renew(): void;
}
