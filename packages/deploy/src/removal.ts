// Ends the agents before the chart is deleted: deletes their DaemonSet in the foreground, so that it stays until its pods have
// ended, and waits. Runs in a pod of its own and needs only Node.
import { request } from 'node:https';
import { request as plainRequest } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

export interface RemovalOptions {
  /** The API server: https://10.96.0.1:443 */
  readonly server: string;
  readonly token: string;
  /** The certificate authority of the API server, PEM. */
  readonly ca?: string | undefined;
  readonly namespace: string;
  readonly name: string;
  /** How long the agents may take, from the deletion to the end of the last of them. */
  readonly timeoutMs: number;
  readonly pollMs?: number;
  readonly say?: (line: string) => void;
}

/** `gone`: no agent is left. `left`: the DaemonSet still exists, and `nodes` of its pods have not ended. */
export type Removal = { readonly outcome: 'gone' } | { readonly outcome: 'left'; readonly nodes: number | undefined };

const REQUEST_TIMEOUT_MS = 15_000;
const DEFAULT_POLL_MS = 1000;
// Foreground: the object stays, with a deletionTimestamp, until what it owns is gone (Kubernetes, Garbage Collection).
const deletion = JSON.stringify({ apiVersion: 'v1', kind: 'DeleteOptions', propagationPolicy: 'Foreground' });

interface Answer {
  readonly status: number;
  readonly body: string;
}

function ask(options: RemovalOptions, method: string, body?: string): Promise<Answer> {
  const { server, token, ca, namespace, name } = options;
  const path = `/apis/apps/v1/namespaces/${encodeURIComponent(namespace)}/daemonsets/${encodeURIComponent(name)}`;
  const url = new URL(path, server);
  return new Promise((resolve, reject) => {
    const headers = {
      authorization: `Bearer ${token}`,
      accept: 'application/json',
      ...(body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
    };
    const send = url.protocol === 'http:' ? plainRequest : request;
    const call = send(url, { method, headers, ca, timeout: REQUEST_TIMEOUT_MS }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => void chunks.push(chunk));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }));
      response.on('error', reject);
    });
    call.on('timeout', () => call.destroy(new Error(`no answer within ${REQUEST_TIMEOUT_MS / 1000} s`)));
    call.on('error', reject);
    call.end(body);
  });
}

const memberOf = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;

/** How many pods the DaemonSet still has, by its status. */
function podsLeft(body: string): number | undefined {
  try {
    const left = memberOf(memberOf(JSON.parse(body), 'status'), 'currentNumberScheduled');
    return typeof left === 'number' ? left : undefined;
  } catch {
    return undefined;
  }
}

const isTransient = (status: number): boolean => status === 429 || status >= 500;

/**
 * Deletes and waits. After a passing failure (no answer, 429, 5xx) it tries again until the time is over.
 * @throws Error when the API server refuses for good
 */
export async function removeDaemonSet(options: RemovalOptions): Promise<Removal> {
  const { namespace, name, timeoutMs, pollMs = DEFAULT_POLL_MS, say = () => {} } = options;
  const end = performance.now() + timeoutMs;
  let isAsked = false;
  let nodes: number | undefined;
  let said = '';
  const tell = (line: string): void => {
    if (line !== said) say(line);
    said = line;
  };
  do {
    try {
      const answer = isAsked ? await ask(options, 'GET') : await ask(options, 'DELETE', deletion);
      if (answer.status === 404) return { outcome: 'gone' };
      if (answer.status >= 200 && answer.status < 300) {
        isAsked = true;
        nodes = podsLeft(answer.body);
        tell(`DaemonSet ${namespace}/${name} is being deleted; agents that still run: ${nodes ?? 'unknown'}`);
      } else if (isTransient(answer.status)) tell(`the API server answered ${answer.status}; trying again`);
      else
        throw new Refusal(`DaemonSet ${namespace}/${name}: the API server answered ${answer.status}: ${answer.body}`);
    } catch (error) {
      if (error instanceof Refusal) throw error;
      tell(`the API server does not answer (${error instanceof Error ? error.message : String(error)}); trying again`);
    }
    await delay(pollMs);
  } while (performance.now() < end);
  return { outcome: 'left', nodes };
}

class Refusal extends Error {}
