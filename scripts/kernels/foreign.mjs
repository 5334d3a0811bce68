// Programs of other people beside ours on this kernel, one JSON line a case: the core of foreign-programs.kernel.test.ts, in
// one process that is in the mesh and its own ztunnel.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { release } from 'node:os';
import { Datapath, WorkloadFlag, cleanup } from '@sluice/datapath';
import { openObject } from '@sluice/libbpf';
import { getSockOpt } from '@sluice/linux';
import { cgroup2Root, peerProgram } from '@sluice/testbed';

process.removeAllListeners('warning'); // of _handle, which has no successor
const FOREIGN = 'packages/datapath/build/test/foreign.bpf.o';
const PIN_DIRECTORY = '/sys/fs/bpf/sluice-foreign';
const OUTBOUND_PORT = 15001; // of ztunnel
// As in foreign.bpf.c: 4242 as an int of a little-endian machine.
const [SERVICE, BACKEND, REFUSED_PORT, ANSWER] = ['192.0.2.10', '10.66.1.2', 4001, '92100000'];
const [ZTUNNEL, BACKEND6] = ['10.66.1.9', 'fd66:0:0:1::2'];
const [SOL_IP, SOL_SOCKET, SO_SNDBUF, SO_RCVBUF, NO_SUCH_OPTION, SO_ORIGINAL_DST] = [0, 1, 7, 8, 4242, 80];
const LENGTHS = [0, 1, 4, 16, 128, 4095, 4096, 4097, 65536];

const parent = `${cgroup2Root()}/sluice-foreign`;
const PLACES = { parent, same: `${parent}/ours`, child: `${parent}/ours/below` };
for (const directory of Object.values(PLACES)) mkdirSync(directory);
const home = `${cgroup2Root()}${readFileSync('/proc/self/cgroup', 'utf8').trim().split(':').at(-1)}`;
const moveTo = (cgroup) => writeFileSync(`${cgroup}/cgroup.procs`, String(process.pid));
for (const address of [`${BACKEND}/32`, `${ZTUNNEL}/32`, `${BACKEND6}/128`])
  execFileSync('ip', ['address', 'add', address, 'dev', 'lo']);

const ask = ({ _handle }, level, name, length) => {
  try {
    return getSockOpt(_handle.fd, level, name, length).toString('hex');
  } catch (error) {
    return error.code;
  }
};
const askEverything = (socket) =>
  [SOL_IP, 6, 41, SOL_SOCKET].flatMap((level) =>
    [2, 4, 5, 9, 14, 16, 64, 79, SO_ORIGINAL_DST, 81].flatMap((name) =>
      LENGTHS.map((length) => `${level} ${name} ${length} ${ask(socket, level, name, length)}`),
    ),
  );
async function listen(port, host) {
  const server = createServer();
  server.listen(port, host);
  await once(server, 'listening');
  return server;
}
async function refusal(host, port) {
  const [error] = await once(connect(port, host), 'error').catch((error) => [error]);
  return error.code;
}
const memberships = () => JSON.parse(execFileSync(peerProgram(), ['memberships'], { encoding: 'utf8' }));

function attachOurs() {
  const datapath = Datapath.open({ pinDirectory: PIN_DIRECTORY, cgroup: PLACES.same });
  const id = statSync(PLACES.child, { bigint: true }).ino;
  const flags = WorkloadFlag.AMBIENT;
  datapath.apply({
    cgroups: new Map([[id, { id, inMesh: true, ip: undefined, flags, detectedFlags: flags }]]),
    netns: new Map(),
    localPods: new Map(),
    ownAddresses: new Map(),
    rules: [],
    // None for IPv6, which is refused.
    settings: {
      ztunnelIPv4: ZTUNNEL,
      noZtunnel: 'closed',
      ztunnelByMark: false,
      probesExempt: 'kubelet',
      hostNetnsCookie: 0n,
      cgroupLevels: [PLACES.child.slice(cgroup2Root().length + 1).split('/').length],
      sampleEvery: 0,
    },
  });
  datapath.activate();
  return datapath;
}

let failed = 0;
function expectThat(what, expected, got) {
  const ok = JSON.stringify(got) === JSON.stringify(expected);
  failed += ok ? 0 : 1;
  console.log(JSON.stringify({ what, ok, ...(ok ? {} : { got, expected }), kernel: release() }));
}

async function withForeign(place, when) {
  const foreign = openObject(FOREIGN);
  foreign.load();
  const onCgroups = foreign.programs().filter(({ type }) => type !== 'sk_lookup' && type !== 'sched_cls');
  const attach = () => onCgroups.map((program) => program.attachCgroup(PLACES[place]));
  const early = when === 'before' ? attach() : [];
  const datapath = attachOurs();
  const links = [...early, ...(when === 'after' ? attach() : [])];
  const runFirst = place === 'child' || (place === 'same' && when === 'before');
  moveTo(PLACES.child);
  const ztunnel = await listen(OUTBOUND_PORT, ZTUNNEL);
  const client = connect(80, SERVICE);
  const [accepted] = await once(ztunnel, 'connection');
  if (client.connecting) await once(client, 'connect');
  const lengths = LENGTHS.filter((length) => length >= 4);
  const original = Buffer.from(ask(accepted, SOL_IP, SO_ORIGINAL_DST, 16), 'hex').subarray(2, 8);
  const got = {
    originalDestination: `${[...original.subarray(2)].join('.')}:${original.readUInt16BE()}`,
    peer: `${client.remoteAddress}:${client.remotePort}`,
    receiveBuffer: [...new Set(lengths.map((length) => ask(client, SOL_SOCKET, SO_RCVBUF, length)))],
    noSuchOption: [...new Set(lengths.map((length) => ask(client, SOL_SOCKET, NO_SUCH_OPTION, length)))],
    sendBuffer: ask(client, SOL_SOCKET, SO_SNDBUF, 4),
    memberships: memberships().error,
    refusedByUs: await refusal(BACKEND6, 80),
    refusedByBoth: await refusal(BACKEND6, REFUSED_PORT),
  };
  for (const socket of [client, accepted]) socket.destroy();
  ztunnel.close();
  moveTo(home);
  datapath.close();
  cleanup(PIN_DIRECTORY);
  for (const link of links) link.close();
  foreign.close();
  expectThat(
    `foreign programs at ${place} cgroup, ${when} ours`,
    {
      originalDestination: `${runFirst ? BACKEND : SERVICE}:80`,
      peer: `${SERVICE}:80`,
      receiveBuffer: [ANSWER],
      noSuchOption: [ANSWER],
      sendBuffer: 'EPERM',
      memberships: '',
      refusedByUs: 'ECONNREFUSED',
      refusedByBoth: 'EHOSTUNREACH',
    },
    got,
  );
}

const outside = await listen(0, '127.0.0.1');
const expected = { options: askEverything(outside), memberships: memberships() };
const datapath = attachOurs();
moveTo(PLACES.child);
const inside = await listen(0, '127.0.0.1');
expectThat('every option, with ours alone', expected, {
  options: askEverything(inside),
  memberships: memberships(),
});
moveTo(home);
for (const server of [outside, inside]) server.close();
datapath.close();
cleanup(PIN_DIRECTORY);

for (const place of ['child', 'same', 'parent']) for (const when of ['before', 'after']) await withForeign(place, when);

for (const directory of Object.values(PLACES).toReversed()) rmdirSync(directory);
process.exit(failed === 0 ? 0 : 1);
