// runc-config.mjs ROOT COMMAND...: prints an OCI configuration that runs a command of the image as the chart's DaemonSet does, with its
// user, capabilities and mounts, a read-only root, no new privileges, the host's pid and network namespaces, and the seccomp
// profile that CRI-O and podman use by default. EXTRA_MOUNTS has more binds, as source=destination, separated by commas.
import { existsSync, readFileSync } from 'node:fs';
import { parseAllDocuments } from 'yaml';

const [root, ...args] = process.argv.slice(2);
const manifest = readFileSync(new URL('../manifest.yaml', import.meta.url), 'utf8');
const daemonSet = parseAllDocuments(manifest)
  .map((document) => document.toJS())
  .find((object) => object?.kind === 'DaemonSet');
const [agent] = daemonSet.spec.template.spec.containers;
const { securityContext: context } = agent;
const capabilities = context.capabilities.add.map((name) => `CAP_${name}`);

// The architecture by Node's name: Go's name, and libseccomp's.
const architectures = { x64: ['amd64', 'SCMP_ARCH_X86_64'], arm64: ['arm64', 'SCMP_ARCH_AARCH64'] };
const [goArch, seccompArch] = architectures[process.arch];

/** The part of a containers-common profile that applies with our capabilities. */
function seccomp(path) {
  const profile = JSON.parse(readFileSync(path, 'utf8'));
  const fits = ({ includes = {}, excludes = {} }) =>
    (includes.caps ?? []).every((name) => capabilities.includes(name)) &&
    (includes.arches ?? [goArch]).includes(goArch) &&
    !(excludes.caps ?? []).some((name) => capabilities.includes(name)) &&
    !(excludes.arches ?? []).includes(goArch);
  const syscalls = profile.syscalls.filter(fits).map(({ names, action, args: conditions, errnoRet }) => ({
    names,
    action,
    ...(conditions?.length > 0 ? { args: conditions } : {}),
    ...(errnoRet === undefined ? {} : { errnoRet }),
  }));
  return {
    defaultAction: profile.defaultAction,
    defaultErrnoRet: profile.defaultErrnoRet,
    architectures: [seccompArch],
    syscalls,
  };
}

const profile = '/usr/share/containers/seccomp.json';
const bind = (source, destination, options = []) => ({
  source,
  destination,
  type: 'bind',
  options: ['rbind', 'rw', ...options],
});
const extra = (process.env.EXTRA_MOUNTS ?? '').split(',').filter((text) => text !== '');
const config = {
  ociVersion: '1.0.2',
  process: {
    terminal: false,
    user: { uid: context.runAsUser, gid: context.runAsGroup },
    args,
    env: ['PATH=/usr/local/bin', 'NODE_NAME=image-test'],
    cwd: '/',
    capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
    noNewPrivileges: !context.allowPrivilegeEscalation,
  },
  root: { path: root, readonly: context.readOnlyRootFilesystem },
  hostname: 'image-test',
  mounts: [
    { destination: '/proc', type: 'proc', source: 'proc' },
    {
      destination: '/dev',
      type: 'tmpfs',
      source: 'tmpfs',
      options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
    },
    { destination: '/sys', type: 'bind', source: '/sys', options: ['rbind', 'ro', 'nosuid', 'noexec', 'nodev'] },
    // The test mounts its own bpffs, so that its pins end with it.
    { destination: '/sys/fs/bpf', type: 'bpf', source: 'bpf' },
    bind('/proc', '/host/proc'),
    bind('/sys/fs/cgroup', '/host/sys/fs/cgroup'),
    ...extra.map((text) => bind(...text.split('='))),
  ],
  linux: {
    namespaces: [{ type: 'mount' }, { type: 'ipc' }, { type: 'uts' }],
    maskedPaths: ['/proc/kcore', '/proc/keys', '/proc/timer_list', '/sys/firmware'],
    readonlyPaths: ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'],
    ...(existsSync(profile) ? { seccomp: seccomp(profile) } : {}),
  },
};
process.stdout.write(`${JSON.stringify(config, undefined, 1)}\n`);
