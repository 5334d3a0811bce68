// Prints what the agent costs on a full node: 245 pods, 980 containers, 5000 namespaces. Run it as root, with everything built:
// node packages/cli/test/scale.mjs [--agent source|bundle|in-cluster]... [--rounds N] [--rest SECONDS] [-o json]
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { readNodeStatus } from '@sluice/ambient-agent';
import { ApiClient, PODS, reflect } from '@sluice/kubernetes';
import { TestNode, toYaml } from '@sluice/testbed';
import * as Effect from 'effect/Effect';
import * as Exit from 'effect/Exit';
import * as Scope from 'effect/Scope';

const AGENTS = ['source', 'bundle', 'in-cluster'];
const { values: options } = parseArgs({
  options: {
    // source: the compiled sources. bundle: what the image holds, with a kubeconfig. in-cluster: the same with a service account.
    agent: { type: 'string', multiple: true, default: AGENTS },
    rounds: { type: 'string', default: '3' },
    rest: { type: 'string', default: '60' },
    output: { type: 'string', short: 'o', default: 'table' },
  },
});
const rounds = Number(options.rounds);
const restSeconds = Number(options.rest);
const isJson = options.output === 'json';
for (const agent of options.agent)
  if (!AGENTS.includes(agent)) throw new Error(`there is no agent ${agent}; there are ${AGENTS.join(', ')}`);

const NAMESPACE_COUNT = 5000;
/** Pods of each namespace that is labelled; with ztunnel they fill a testbed node. */
const POD_COUNTS = { few: 10, some: 100, rest: 134 };
/** In addition to the sandbox and `app`. */
const MORE_CONTAINERS = ['second', 'third'];
const AMBIENT = { 'istio.io/dataplane-mode': 'ambient' };
const ENROLMENTS = [['few'], ['some'], ['few', 'some', 'rest']];
const REDIRECTION = 'ambient.istio.io/redirection';
const STARTED_AT_ONCE = 8;
const SETTLING_MS = 3000;
/** For passes that find nothing to do, a label that no selector uses is changed this often. */
const IDLE_CHANGES = 9;
const IDLE_CHANGE_EVERY_MS = 700;
/** The unit of /proc/<pid>/stat: 10 ms on every kernel (USER_HZ). */
const MS_A_TICK = 10;

const REPOSITORY = fileURLToPath(new URL('../../../', import.meta.url));
const SOURCE = join(REPOSITORY, 'packages/cli/dist/main.js');
const DOCKERFILE = join(REPOSITORY, 'deploy/Dockerfile');
const MAKE_BUNDLE = join(REPOSITORY, 'packages/deploy/dist/make-bundle.js');
const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';
/** Puts the files of a service account where a pod has them, in a private mount that hides everything else in /var/run. */
const IN_POD = `mount -t tmpfs tmpfs /var/run && mkdir -p ${SERVICE_ACCOUNT} && cp "$1"/* ${SERVICE_ACCOUNT} && shift && exec "$@"`;

const progress = (text) => process.stderr.write(`${text}\n`);
const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];

/** The fields that a server adds to every object. */
const managedFields = (fields) => [
  { manager: 'kubectl', operation: 'Update', apiVersion: 'v1', time: '2026-01-01T00:00:00Z', fieldsV1: fields },
];

async function makeNamespaces({ api }) {
  for (let index = 0; index < NAMESPACE_COUNT - Object.keys(POD_COUNTS).length; index += 1) {
    const name = `tenant-${index}`;
    const labels = { 'kubernetes.io/metadata.name': name, 'pod-security.kubernetes.io/enforce': 'baseline' };
    await api.call('create', 'Namespace', {
      metadata: { name, labels, managedFields: managedFields({ 'f:metadata': {} }) },
      spec: { finalizers: ['kubernetes'] },
      status: { phase: 'Active' },
    });
  }
}

/** The manifest has 10 KB, about as much as one of four containers has in practice. */
async function makePod(node, namespace, index) {
  const pod = await node.pod({ namespace, name: `${namespace}-${index}`, labels: { app: namespace }, publish: false });
  for (const name of MORE_CONTAINERS) await pod.startContainer(name, ['pause']);
  const manifest = pod.manifest();
  const env = Array.from({ length: 33 }, (_, of) => ({ name: `SETTING_${of}`, value: `${'value'.repeat(8)}-${of}` }));
  const containers = manifest.spec.containers.map((container) => ({ ...container, env }));
  await node.kubernetes.api.call('create', 'Pod', { ...manifest, spec: { ...manifest.spec, containers } });
}

async function makePods(node) {
  const waiting = Object.entries(POD_COUNTS).flatMap(([namespace, count]) =>
    Array.from({ length: count }, (_, index) => [namespace, index]),
  );
  const workers = Array.from({ length: STARTED_AT_ONCE }, async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) await makePod(node, ...next);
  });
  await Promise.all(workers);
}

/** How to start a kind of agent. */
function launchOf(kind, node, bundle) {
  const environment = { ...process.env, DAEMONSET_NAME: 'sluice-node', POD_NAMESPACE: 'istio-system' };
  delete environment.KUBECONFIG;
  // The image sets the same.
  if (kind !== 'source')
    environment.NODE_OPTIONS = /^ENV NODE_OPTIONS="(.*)"$/m.exec(readFileSync(DOCKERFILE, 'utf8'))[1];
  const program = [process.execPath, kind === 'source' ? SOURCE : join(bundle, 'dist/sluice.js')];
  if (kind !== 'in-cluster')
    return { program, within: [], env: environment, inventory: { kubeconfig: node.kubeconfig } };
  const { api } = node.kubernetes;
  const files = join(node.directory, 'service-account');
  mkdirSync(files, { recursive: true });
  writeFileSync(join(files, 'token'), api.adminToken, { mode: 0o600 });
  writeFileSync(join(files, 'ca.crt'), api.ca);
  const { hostname, port } = new URL(api.url);
  return {
    program,
    within: ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', IN_POD, 'sh', files],
    env: { ...environment, KUBERNETES_SERVICE_HOST: hostname, KUBERNETES_SERVICE_PORT: port },
    inventory: {},
  };
}

/** In MiB: resident now, the part of that which is not backed by files, and the peak. */
function memoryOf(pid) {
  const text = readFileSync(`/proc/${pid}/status`, 'utf8');
  const of = (name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)[1]) / 1024;
  return { rss: of('VmRSS'), anonymous: of('RssAnon'), peak: of('VmHWM') };
}

/** utime and stime of all its threads, in milliseconds: proc_pid_stat(5), fields 14 and 15. */
function cpuMs(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * MS_A_TICK;
}

/** A condition that is checked whenever something is heard; nothing polls. */
class Listener {
  #looks = new Set();

  heard() {
    for (const look of this.#looks) look();
  }

  /** Resolves to the time when the condition became true. */
  until(isTrue) {
    return new Promise((resolve) => {
      const look = () => {
        if (!isTrue()) return;
        this.#looks.delete(look);
        resolve(performance.now());
      };
      this.#looks.add(look);
      look();
    });
  }
}

/** The annotations of all pods, as a client sees them change. */
class Annotations {
  #listener = new Listener();
  #scope = Scope.makeUnsafe();
  #reflector;

  constructor({ url, ca, adminToken }) {
    const credentials = async () => ({ headers: { authorization: `Bearer ${adminToken}` }, tls: { ca } });
    const trim = ({ metadata: { annotations } }) => ({ value: annotations?.[REDIRECTION] });
    const onNews = () => Effect.sync(() => this.#listener.heard());
    const copy = ApiClient.open({ server: url, credentials, renew() {} }).pipe(
      Effect.flatMap((client) => reflect({ client, resource: PODS, trim, onNews })),
    );
    this.#reflector = Effect.runSync(Scope.provide(copy, this.#scope));
  }

  enabled(count) {
    const are = () => [...this.#reflector.objects].filter(([, { value }]) => value === 'enabled').length;
    return this.#listener.until(() => are() === count);
  }

  async close() {
    await Effect.runPromise(Scope.close(this.#scope, Exit.void));
  }
}

/** What the agent's log says: who is in the mesh, and how long each pass took. */
class Log {
  #listener = new Listener();
  #states = new Map();
  passes = [];

  follow(process) {
    let read = 0;
    const more = () => {
      for (; read < process.history.length; read += 1) this.#take(JSON.parse(process.history[read]));
      this.#listener.heard();
      // Never true: the callback only needs to see each line.
      return false;
    };
    process.until(more).catch(() => {});
  }

  #take({ msg, uid, state, why, durationMs }) {
    if (msg === 'workload' && state !== undefined) this.#states.set(uid, state);
    if (msg === 'reconciled') this.passes.push({ why, durationMs });
  }

  inMesh(count) {
    const are = () => [...this.#states.values()].filter((state) => state === 'in').length;
    return this.#listener.until(() => are() === count);
  }
}

const setLabels = async ({ api }, namespaces, labels) => {
  for (const name of namespaces) await api.call('patch', 'Namespace', { name }, { metadata: { labels } });
};
const label = (kubernetes, namespaces) => setLabels(kubernetes, namespaces, AMBIENT);
const unlabel = (kubernetes, namespaces) =>
  setLabels(kubernetes, namespaces, Object.fromEntries(Object.keys(AMBIENT).map((key) => [key, null])));

async function measureEnrolment({ node, log, annotations, pid }, namespaces, record) {
  const pods = namespaces.reduce((sum, name) => sum + POD_COUNTS[name], 0);
  const step = async (what, change, count) => {
    const [started, cpu, passes] = [performance.now(), cpuMs(pid), log.passes.length];
    const ends = Promise.all([log.inMesh(count), annotations.enabled(count)]);
    await change(node.kubernetes, namespaces);
    const [inForce, announced] = await ends;
    record(`${what} ${pods} pods: in force`, 'ms', inForce - started);
    record(`${what} ${pods} pods: and annotated`, 'ms', announced - started);
    await sleep(SETTLING_MS);
    record(`${what} ${pods} pods: CPU of the agent, a pod`, 'ms', (cpuMs(pid) - cpu) / pods);
    record(`${what} ${pods} pods: passes`, '', log.passes.length - passes);
  };
  await step('enrol', label, pods);
  await step('release', unlabel, 0);
}

async function measureStart({ node, launch, configPath, runDir, annotations }, record) {
  const log = new Log();
  const agent = node.agent({
    command: [...launch.within, ...launch.program, 'run', '--config', configPath],
    ready: /"msg":"ready"/,
    env: launch.env,
  });
  const all = Object.keys(POD_COUNTS);
  const count = all.reduce((sum, name) => sum + POD_COUNTS[name], 0);
  const readState = () => readNodeStatus(runDir).state;

  await label(node.kubernetes, all);
  const started = performance.now();
  await agent.start();
  record('start, all pods wanted: ready', 'ms', performance.now() - started);
  log.follow(agent.process);
  const { pid } = readState().agent;
  record('start: first pass', 'ms', readState().lastReconcile.durationMs);
  const [inForce, announced] = await Promise.all([log.inMesh(count), annotations.enabled(count)]);
  record('start: all pods in the mesh', 'ms', inForce - started);
  record('start: and annotated', 'ms', announced - started);
  const running = { node, log, annotations, pid };
  record('memory: peak of the start', 'MiB', memoryOf(pid).peak);

  for (const namespaces of ENROLMENTS) {
    await unlabel(node.kubernetes, all);
    await Promise.all([log.inMesh(0), annotations.enabled(0)]);
    await sleep(SETTLING_MS);
    await measureEnrolment(running, namespaces, record);
  }

  await label(node.kubernetes, all);
  await Promise.all([log.inMesh(count), annotations.enabled(count)]);
  await sleep(SETTLING_MS);
  const passesOf = async (body) => {
    const before = log.passes.length;
    await body();
    return log.passes.slice(before);
  };
  const idle = await passesOf(async () => {
    for (let index = 0; index < IDLE_CHANGES; index += 1) {
      await setLabels(node.kubernetes, ['tenant-0'], { changed: String(index) });
      await sleep(IDLE_CHANGE_EVERY_MS);
    }
  });
  record('pass without anything to do', 'ms', median(idle.map(({ durationMs }) => durationMs)));
  const cpu = cpuMs(pid);
  const resting = await passesOf(() => sleep(restSeconds * 1000));
  record(`at rest for ${restSeconds} s: CPU`, '% of a core', (cpuMs(pid) - cpu) / (restSeconds * 10));
  if (resting.length > 0)
    record('pass by the timer (thorough)', 'ms', median(resting.map(({ durationMs }) => durationMs)));
  const { rss, anonymous, peak } = memoryOf(pid);
  record('memory: settled', 'MiB', rss);
  record('memory: settled, without files', 'MiB', anonymous);
  record('memory: peak', 'MiB', peak);

  await agent.stop();
  const again = performance.now();
  await agent.start();
  record('restart, all pods in the mesh: ready', 'ms', performance.now() - again);
  record('restart: first pass', 'ms', readState().lastReconcile.durationMs);
  log.follow(agent.process);
  await unlabel(node.kubernetes, all);
  await Promise.all([log.inMesh(0), annotations.enabled(0)]);
  await agent.stop();
  execFileSync(process.execPath, [SOURCE, 'cleanup', '--config', configPath], { stdio: 'ignore' });
}

function print(kind, figures) {
  if (isJson) {
    for (const [what, { unit, values }] of figures)
      process.stdout.write(`${JSON.stringify({ agent: kind, what, unit, median: median(values), values })}\n`);
    return;
  }
  const text = (value) => value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0);
  process.stdout.write(`\n${kind}: median of ${rounds}\n`);
  for (const [what, { unit, values }] of figures) {
    const range = `${text(Math.min(...values))} to ${text(Math.max(...values))}`;
    process.stdout.write(`  ${what.padEnd(45)} ${text(median(values)).padStart(7)} ${unit.padEnd(12)} ${range}\n`);
  }
}

async function measure(node) {
  const { kubernetes } = node;
  progress(`making ${NAMESPACE_COUNT} namespaces and the node's pods ...`);
  kubernetes.write({
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { namespace: 'istio-system', name: 'sluice-node' },
  });
  for (const name of Object.keys(POD_COUNTS)) kubernetes.setNamespace(name, {});
  await kubernetes.settled();
  await makeNamespaces(kubernetes);
  await makePods(node);
  await node.kubelet();
  const zdsSocket = join(node.directory, 'ztunnel.sock');
  await node.ztunnel({ mode: 'inPod', zdsSocket, dns: false });
  const bundle = join(node.directory, 'bundle');
  execFileSync(process.execPath, [MAKE_BUNDLE, bundle], { stdio: 'ignore' });
  const configPath = join(node.directory, 'config.yaml');
  const runDir = join(node.directory, 'run');
  // A tmpfs, as /run is on most machines; it is unmounted with the node.
  mkdirSync(runDir);
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', runDir]);
  const bpffs = await node.bpffs();
  const annotations = new Annotations(kubernetes.api);

  for (const kind of options.agent) {
    const launch = launchOf(kind, node, bundle);
    const paths = { bpffs, runDir, cgroupRoot: node.cgroup.path, hostNetns: node.netns.path };
    const inventory = { source: 'kubernetes', ...launch.inventory };
    const config = { nodeName: node.name, zds: { socket: zdsSocket }, paths, inventory, log: { level: 'debug' } };
    writeFileSync(configPath, toYaml(config));
    const figures = new Map();
    const record = (what, unit, value) => {
      const figure = figures.get(what) ?? { unit, values: [] };
      figure.values.push(value);
      figures.set(what, figure);
    };
    for (let round = 1; round <= rounds; round += 1) {
      progress(`${kind}, round ${round} of ${rounds} ...`);
      await measureStart({ node, launch, configPath, runDir, annotations }, record);
    }
    print(kind, figures);
  }
  await annotations.close();
}

const node = await TestNode.create({ kubernetes: 'api', remoteDns: false, remotePorts: [] });
try {
  await measure(node);
} finally {
  await node.close();
}
