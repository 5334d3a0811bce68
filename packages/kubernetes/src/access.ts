// Where the API server is, and what a request to it has to carry.
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
  /** Only where a proxy makes the connections. */
  readonly proxy?: Agent;
}

export interface ApiAccess {
  /** Such as `https://10.96.0.1:443`; a path behind it is kept. */
  readonly server: string;
  /** Asked for before every request, so that what was rotated on disk is used at once. */
  credentials(): Promise<Credentials>;
  /** The last credentials got 401: whatever is cached of them is to be read again. */
  renew(): void;
}
