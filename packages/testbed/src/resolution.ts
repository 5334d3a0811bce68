// A question to DNS servers, and where the answer came from.
import * as Schema from 'effect/Schema';
import { parseLine } from './json-line.js';
import type { LineProcess } from './line-process.js';
import { endpoint } from './topology.js';

/** Which server answers with which addresses: the same for every name. */
export const DNS_ANSWERS = {
  /** The stand-in ztunnel in inPod mode: addresses from the ranges of Istio's address allocation. */
  ztunnel: { A: '240.240.0.1', AAAA: '2001:2::f0f0:1' },
  /** RemoteNode: addresses from the ranges for documentation. */
  remote: { A: '198.51.100.53', AAAA: '2001:db8::53' },
} as const;

export interface ResolveOptions {
  /** An address (port 53), or an address and a port; one socket asks several at once, as musl does. */
  readonly server: string | readonly string[];
  /** Default 'a.example'. */
  readonly name?: string;
  /** Default 'A'. */
  readonly type?: 'A' | 'AAAA';
  /** Default 'udp'. */
  readonly protocol?: 'udp' | 'tcp';
  /** Whether the UDP socket is connected first, as glibc does. Default false. */
  readonly connected?: boolean;
  /** In ms. Default PATIENCE_MS. */
  readonly timeout?: number;
}

const SaidAnswer = Schema.Struct({
  /** The server that was asked. */
  server: Schema.String,
  /** '' if it has none of that type. */
  answer: Schema.String,
  /** ip:port that recvfrom() shows, or with TCP getpeername(). */
  from: Schema.String,
});
const SaidResolution = Schema.Struct({
  answers: Schema.Array(SaidAnswer),
  /** Name of the errno, or ''. ETIMEDOUT if not all servers have answered. */
  error: Schema.String,
  /** The result of getpeername(); '' if the socket has no peer. */
  peername: Schema.String,
  sockname: Schema.String,
});

export type DnsAnswer = typeof SaidAnswer.Type & { readonly by: keyof typeof DNS_ANSWERS | 'unknown' };

/** The fields of the first answer, and all answers. Without any answer, `error` says why, and the fields are ''. */
export type Resolution = typeof SaidResolution.Type &
  Omit<DnsAnswer, 'server' | 'by'> & {
    readonly by: DnsAnswer['by'] | '';
    readonly answers: readonly DnsAnswer[];
  };

/** The arguments of the peer program for a question. */
export function resolveArguments(options: ResolveOptions): string[] {
  const servers = typeof options.server === 'string' ? [options.server] : options.server;
  return [
    'resolve',
    ...servers.flatMap((server) => ['--server', withPort(server)]),
    ...(options.name === undefined ? [] : ['--name', options.name]),
    ...(options.type === undefined ? [] : ['--type', options.type]),
    ...(options.protocol === 'tcp' ? ['--tcp'] : []),
    ...(options.connected === true ? ['--connected'] : []),
    ...(options.timeout === undefined ? [] : ['--timeout', String(options.timeout)]),
  ];
}

/** Reads the answer of a `peer resolve`. */
export async function readResolution(process: LineProcess): Promise<Resolution> {
  const read = parseLine(SaidResolution, await process.nextLine());
  const answers = read.answers.map((answer) => ({ ...answer, by: whose(answer.answer) }));
  const [first] = answers;
  return { ...read, answer: first?.answer ?? '', from: first?.from ?? '', by: first?.by ?? '', answers };
}

function whose(address: string): DnsAnswer['by'] {
  if (Object.values<string>(DNS_ANSWERS.ztunnel).includes(address)) return 'ztunnel';
  if (Object.values<string>(DNS_ANSWERS.remote).includes(address)) return 'remote';
  return 'unknown';
}

function withPort(server: string): string {
  return /^[\d.]+$|^[0-9a-fA-F:.]+:[0-9a-fA-F:.]*$/.test(server) && !/^[\d.]+:\d+$/.test(server)
    ? endpoint(server, 53)
    : server;
}
