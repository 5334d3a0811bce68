// The calls that need a thread, in a process that can have none: each returns an error, and nothing is left behind.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { requires } from '@sluice/testbed';
import { describe, expect, it } from 'vitest';

const need = requires('root');
const index = JSON.stringify(new URL('../dist/index.js', import.meta.url).href);

const netns = '/proc/self/ns/net';
/** Every call that makes a thread, and the object that its failure names. */
const calls: [call: string, object: string][] = [
  ['listenSeqpacket(path)', 'seqpacket sockets'],
  ['connectSeqpacket(path)', 'seqpacket sockets'],
  [`Netns.open('${netns}')`, netns],
  ['watchNetns(netns, () => undefined)', 'watches of network namespaces'],
  ['Netns.create()', 'a new network namespace'],
  ['Netns.prototype.addresses.call(netns)', netns],
  ['rules(netns)', netns],
  ['routes(netns, 254)', netns],
  [`tcFilters(netns, 'lo', 'ingress')`, netns],
  [`writeSysctl(netns, 'net.ipv4.tcp_fwmark_accept', '0')`, netns],
];

const program = `
  import { execFileSync } from 'node:child_process';
  import { openSync, readdirSync } from 'node:fs';
  import { connectSeqpacket, listenSeqpacket, Netns, routes, rules, tcFilters, watchNetns, writeSysctl } from ${index};
  const path = process.argv[1];
  // Netns.open() needs CAP_SYS_ADMIN, so a plain descriptor takes its place.
  const netns = { fd: openSync('${netns}'), path: '${netns}' };
  const descriptors = () => readdirSync('/proc/self/fd').length;
  const refusal = (call) => {
    try {
      call();
    } catch ({ name, message }) {
      return name + ': ' + message;
    }
  };
  execFileSync('prlimit', ['--nproc=1', '--pid', String(process.pid)]);
  const before = descriptors();
  const refusals = [${calls.map(([call]) => `() => ${call}`).join(', ')}].map(refusal);
  process.stdout.write(JSON.stringify({ refusals, leaked: descriptors() - before }));`;

// Root is under no limit on tasks (RLIMIT_NPROC), so the process is nobody's, with the right to read the program.
const asNobody = ['--reuid=65534', '--regid=65534', '--clear-groups', '--inh-caps=+dac_override'];

describe.skipIf(need.skip)(`a process that can make no thread${need.label}`, () => {
  it('gets an error from every call that needs one', () => {
    const directory = mkdtempSync(join(tmpdir(), 'sluice-threads-'));
    try {
      // The process ends by itself: what would have kept it alive has been released.
      const node = [process.execPath, '--input-type=module', '-e', program, join(directory, 'socket')];
      const output = execFileSync('setpriv', [...asNobody, '--ambient-caps=+dac_override', ...node], {
        encoding: 'utf8',
      });
      const because = 'EAGAIN; no thread could be made; raise the limit on tasks (pids.max, RLIMIT_NPROC)';
      expect(JSON.parse(output)).toEqual({
        refusals: calls.map(([, object]) => `SystemCallError: pthread_create ${object}: ${because}`),
        leaked: 0,
      });
      expect(readdirSync(directory)).toEqual([]);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
