// Prints one JSON line for each thing that Sluice needs, saying whether this kernel has it. It runs in the guest before the
// matrix, so that a missing option is named and need not be guessed from a failed connection.
import { execFileSync, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmdirSync, statfsSync, statSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';

const CGROUP2_SUPER_MAGIC = 0x63677270; // <linux/magic.h>
const BPF_FS_MAGIC = 0xcafe4a11; // <linux/magic.h>
// Long enough for an emulated processor on a busy host: a kernel that reports never reaches it.
const EVENT_DEADLINE_MS = 60_000;
const cgroupRoot = '/sys/fs/cgroup';
const objectPath = 'bpf/build/sluice.bpf.o';
const inboundObjectPath = 'bpf/build/inbound.bpf.o';

const run = (command, ...args) => execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
const expect = (condition, message) => {
  if (!condition) throw new Error(message);
};

const checks = {
  node: () => process.version,
  'kernel BTF': () => `${statSync('/sys/kernel/btf/vmlinux').size} bytes`,
  'cgroup v2': () => {
    expect(statfsSync(cgroupRoot).type === CGROUP2_SUPER_MAGIC, `${cgroupRoot} is not cgroup2`);
    return inOwnCgroup((cgroup) => `cgroup id ${statSync(cgroup, { bigint: true }).ino}`);
  },
  bpffs: () => {
    expect(statfsSync('/sys/fs/bpf').type === BPF_FS_MAGIC, '/sys/fs/bpf is not a bpffs');
    return '/sys/fs/bpf';
  },
  'veth, bridge, IPv4 and IPv6 between namespaces': () => {
    run('ip', 'netns', 'add', 'features');
    try {
      run('ip', 'link', 'add', 'features-br', 'type', 'bridge');
      run('ip', 'link', 'add', 'features0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', 'features');
      run('ip', 'link', 'set', 'features0', 'master', 'features-br', 'up');
      run('ip', 'link', 'set', 'features-br', 'up');
      run('ip', 'address', 'add', '10.66.99.1/24', 'dev', 'features-br');
      run('ip', '-6', 'address', 'add', 'fd66:99::1/64', 'dev', 'features-br', 'nodad');
      const inside = ['--net=/run/netns/features', 'ip'];
      run('nsenter', ...inside, 'address', 'add', '10.66.99.2/24', 'dev', 'eth0');
      run('nsenter', ...inside, '-6', 'address', 'add', 'fd66:99::2/64', 'dev', 'eth0', 'nodad');
      run('nsenter', ...inside, 'link', 'set', 'eth0', 'up');
      run('ping', '-c', '1', '-W', '20', '10.66.99.2');
      run('ping', '-6', '-c', '1', '-W', '20', 'fd66:99::2');
      return 'both answered';
    } finally {
      run('ip', 'netns', 'del', 'features');
      run('ip', 'link', 'del', 'features-br');
    }
  },
  '@sluice/linux: netns cookie': async () => {
    const { netnsCookie } = await import('@sluice/linux');
    return String(netnsCookie('/proc/self/ns/net'));
  },
  '@sluice/netlink-proc-connector: an exec is reported': async () => {
    const { openProcConnector } = await import('@sluice/netlink-proc-connector');
    return new Promise((resolve, reject) => {
      const connector = openProcConnector({
        onBatch: (batch) => {
          // The guest is quiet, but the child is not its only process: wait for the child's own pid.
          if (![...batch].some((event) => event.kind === 'exec' && event.pid === child.pid)) return;
          connector.close();
          clearTimeout(deadline);
          resolve(`pid ${child.pid}`);
        },
      });
      const child = spawn('/bin/true');
      const deadline = setTimeout(() => {
        connector.close();
        reject(new Error(`no exec event of pid ${child.pid} within ${EVENT_DEADLINE_MS} ms`));
      }, EVENT_DEADLINE_MS);
    });
  },
  'nothing that the agent asks for at its start is missing': async () => {
    const { missingKernelFeatures, objectPaths, usedKernelFeatures } = await import('@sluice/datapath');
    const paths = objectPaths({ inbound: true });
    const missing = missingKernelFeatures(paths).map(({ name }) => name);
    expect(missing.length === 0, missing.join(', '));
    return `${usedKernelFeatures(paths).length} features`;
  },
  '@sluice/libbpf: every program loads and attaches': async () => {
    const { openObject } = await import('@sluice/libbpf');
    expect(existsSync(objectPath), `${objectPath} is not in the image: build it first`);
    return inOwnCgroup((cgroup) => {
      const object = openObject(objectPath);
      try {
        object.load();
        const programs = object.programs();
        for (const link of programs.map((program) => program.attachCgroup(cgroup))) link.close();
        return programs.map((program) => program.name).join(' ');
      } finally {
        object.close();
      }
    });
  },
  '@sluice/libbpf: the inbound program loads and attaches to a namespace': async () => {
    const { openObject } = await import('@sluice/libbpf');
    const { Netns } = await import('@sluice/linux');
    const object = openObject(inboundObjectPath);
    const netns = Netns.open('/proc/self/ns/net');
    try {
      object.load();
      const [program] = object.programs();
      program.attachNetns(netns).close();
      return program.name;
    } finally {
      netns.close();
      object.close();
    }
  },
  '@sluice/datapath: no part of the guard is missing': () =>
    inOwnCgroup(async (cgroup) => {
      const { Datapath, GUARD_PARTS, Guard, cleanup } = await import('@sluice/datapath');
      const pinDirectory = '/sys/fs/bpf/sluice-features';
      const datapath = Datapath.open({ pinDirectory, cgroup });
      datapath.activate();
      const guard = Guard.open({ pinDirectory, cgroup, podLogs: '/var/log/pods' });
      try {
        const absent = GUARD_PARTS.filter((part) => !guard.attached().includes(part));
        expect(absent.length === 0, `${absent.join(' ')}: ${JSON.stringify(guard.missing())}`);
        return guard.attached().join(' ');
      } finally {
        guard.close();
        datapath.close();
        cleanup(pinDirectory, cgroup);
      }
    }),
  '@sluice/datapath: a question to a name server is answered by the resolver': () =>
    inOwnCgroup(async (cgroup) => {
      const { Datapath, WorkloadFlag, cleanup } = await import('@sluice/datapath');
      const { netnsCookie } = await import('@sluice/linux');
      const pinDirectory = '/sys/fs/bpf/sluice-features';
      const datapath = Datapath.open({ pinDirectory, cgroup });
      const cookie = netnsCookie('/proc/self/ns/net');
      const id = statSync(cgroup, { bigint: true }).ino;
      const flags = WorkloadFlag.AMBIENT | WorkloadFlag.IN_POD | WorkloadFlag.DNS_CAPTURE;
      const ips = ['192.0.2.2', '2001:db8::2'];
      datapath.apply({
        cgroups: new Map([[id, { id, inMesh: true, ip: ips[0], flags, detectedFlags: flags }]]),
        netns: new Map(),
        localPods: new Map(ips.map((ip) => [ip, { netnsCookie: cookie, flags }])),
        ownAddresses: new Map([[cookie, ips]]),
        rules: [],
        settings: {
          noZtunnel: 'closed',
          ztunnelByMark: false,
          probesExempt: 'kubelet',
          hostNetnsCookie: 0n,
          cgroupLevels: [1],
          sampleEvery: 0,
        },
      });
      datapath.activate();
      const home = readFileSync('/proc/self/cgroup', 'utf8').trim().split(':').at(-1);
      writeFileSync(`${cgroup}/cgroup.procs`, String(process.pid));
      try {
        const seen = [];
        for (const [type, at, server] of [
          ['udp4', '127.0.0.1', '192.0.2.53'],
          ['udp6', '::1', '2001:db8::53'],
        ]) {
          const [resolver, connected, other] = [createSocket(type), createSocket(type), createSocket(type)];
          resolver.on('message', (question, from) => resolver.send(question, from.port, from.address));
          resolver.bind(15053, at);
          await once(resolver, 'listening');
          connected.connect(53, server);
          await once(connected, 'connect');
          connected.send('connected');
          other.send('other', 53, server);
          for (const socket of [connected, other]) {
            const [answer, { address, port }] = await once(socket, 'message');
            seen.push(`${answer} ${address} ${port}`);
          }
          seen.push(`${connected.address().address} to ${connected.remoteAddress().address}`);
          for (const socket of [resolver, connected, other]) socket.close();
        }
        const expected = [
          ['connected 192.0.2.53 53', 'other 192.0.2.53 53', '192.0.2.2 to 192.0.2.53'],
          ['connected 2001:db8::53 53', 'other 2001:db8::53 53', '2001:db8::2 to 2001:db8::53'],
        ].flat();
        expect(seen.join() === expected.join(), seen.join());
        return seen.join(', ');
      } finally {
        writeFileSync(`${cgroupRoot}${home}/cgroup.procs`, String(process.pid));
        datapath.close();
        cleanup(pinDirectory, cgroup);
      }
    }),
};

/** Runs `body` with a cgroup of its own, which is removed afterwards. */
async function inOwnCgroup(body) {
  const directory = `${cgroupRoot}/sluice-features`;
  mkdirSync(directory);
  try {
    return await body(directory);
  } finally {
    rmdirSync(directory);
  }
}

let failed = 0;
for (const [check, body] of Object.entries(checks)) {
  try {
    console.log(JSON.stringify({ check, ok: true, detail: await body(), kernel: release() }));
  } catch (error) {
    failed += 1;
    console.log(JSON.stringify({ check, ok: false, detail: String(error?.message ?? error), kernel: release() }));
  }
}
process.exitCode = failed === 0 ? 0 : 1;
