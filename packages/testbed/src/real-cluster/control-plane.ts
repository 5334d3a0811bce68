// The control plane of a cluster: etcd, the API server, the controllers and the scheduler, on addresses of the cluster's own.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import type { Cgroup } from '../cgroup.js';
import { Daemon, type DaemonPlace } from './daemon.js';
import type { ClusterNetwork } from './network.js';
import { clusterProgram } from './programs.js';

const ETCD_CLIENT_PORT = 2379;
const ETCD_PEER_PORT = 2380;
/** The service `kubernetes` has this port. Without kube-proxy nothing translates it, so the API server has it, too. */
const API_PORT = 443;

export interface ControlPlanePlace {
  readonly cgroup: Cgroup;
  /** For keys, certificates, data and logs. */
  readonly directory: string;
  readonly network: ClusterNetwork;
}

export class ControlPlane {
  /** https://address:443 */
  readonly server: string;
  /** The token of an administrator (group system:masters). */
  readonly token: string;
  /** Path of a PEM file: the authority to trust. */
  readonly ca: string;
  /** Path of a file for kubectl, helm and the daemons. */
  readonly kubeconfig: string;
  readonly #directory: string;
  readonly #network: ClusterNetwork;
  readonly #daemons: DaemonPlace;
  #api: Daemon | undefined;

  private constructor({ cgroup, directory, network }: ControlPlanePlace) {
    this.server = `https://${network.serviceIp}:${API_PORT}`;
    this.token = randomUUID();
    this.ca = join(directory, 'certificates/apiserver.crt');
    this.kubeconfig = join(directory, 'kubeconfig');
    this.#directory = directory;
    this.#network = network;
    this.#daemons = { cgroup, logs: directory };
  }

  /** Fulfilled when the API server is ready and the controllers and the scheduler have been started. */
  static async start(place: ControlPlanePlace): Promise<ControlPlane> {
    mkdirSync(place.directory, { recursive: true });
    const plane = new ControlPlane(place);
    plane.#writeCredentials();
    await plane.#startStore();
    await plane.startApi();
    await Promise.all([plane.#startControllers(), plane.#startScheduler()]);
    return plane;
  }

  #writeCredentials(): void {
    const { publicKey, privateKey } = generateKeyPairSync('rsa', {
      modulusLength: 2048,
      publicKeyEncoding: { type: 'spki', format: 'pem' },
      privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
    });
    this.#write('accounts.pub', publicKey);
    this.#write('accounts.key', privateKey);
    this.#write('tokens.csv', `${this.token},admin,admin,"system:masters"\n`);
    // kubectl reads YAML, and JSON is YAML.
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'testbed', cluster: { server: this.server, 'certificate-authority': this.ca } }],
      users: [{ name: 'admin', user: { token: this.token } }],
      contexts: [{ name: 'testbed', context: { cluster: 'testbed', user: 'admin' } }],
      'current-context': 'testbed',
    };
    this.#write('kubeconfig', JSON.stringify(config, undefined, 2));
  }

  async #startStore(): Promise<void> {
    const { nodeIp } = this.#network;
    const client = `http://${nodeIp}:${ETCD_CLIENT_PORT}`;
    const peer = `http://${nodeIp}:${ETCD_PEER_PORT}`;
    await this.#start('etcd', [
      `--data-dir=${join(this.#directory, 'etcd')}`,
      `--listen-client-urls=${client}`,
      `--advertise-client-urls=${client}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=default=${peer}`,
      // Nothing of it has to survive the machine.
      '--unsafe-no-fsync',
    ]);
  }

  /** Fulfilled when it is ready. */
  async startApi(): Promise<void> {
    const { nodeIp, serviceIp, serviceRange } = this.#network;
    const api = await this.#start('kube-apiserver', [
      `--etcd-servers=http://${nodeIp}:${ETCD_CLIENT_PORT}`,
      `--bind-address=${serviceIp}`,
      `--advertise-address=${serviceIp}`,
      `--secure-port=${API_PORT}`,
      `--service-cluster-ip-range=${serviceRange}`,
      `--cert-dir=${join(this.#directory, 'certificates')}`,
      `--token-auth-file=${join(this.#directory, 'tokens.csv')}`,
      '--authorization-mode=RBAC',
      `--service-account-key-file=${join(this.#directory, 'accounts.pub')}`,
      `--service-account-signing-key-file=${join(this.#directory, 'accounts.key')}`,
      '--service-account-issuer=https://kubernetes.default.svc',
      // No DNS has the names of nodes; logs and exec go to their addresses.
      '--kubelet-preferred-address-types=InternalIP',
      '--profiling=false',
    ]);
    this.#api = api;
    await api.until('the API server is ready', () => this.#askReady());
  }

  /** Watches lose their connection; what is stored stays. */
  async stopApi(): Promise<void> {
    await this.#api?.stop();
  }

  async #startControllers(): Promise<void> {
    await this.#start('kube-controller-manager', [
      ...this.#clientArguments(10_257),
      `--service-account-private-key-file=${join(this.#directory, 'accounts.key')}`,
      // Pods trust the authority that signed the API server's certificate; the server made that itself.
      `--root-ca-file=${this.ca}`,
    ]);
  }

  async #startScheduler(): Promise<void> {
    await this.#start('kube-scheduler', this.#clientArguments(10_259));
  }

  #clientArguments(port: number): string[] {
    return [
      `--kubeconfig=${this.kubeconfig}`,
      `--bind-address=${this.#network.nodeIp}`,
      `--secure-port=${port}`,
      `--cert-dir=${join(this.#directory, `certificates-${port}`)}`,
      '--leader-elect=false',
      '--profiling=false',
    ];
  }

  #start(program: string, args: readonly string[]): Promise<Daemon> {
    return Daemon.start(program, [clusterProgram(program), ...args], this.#daemons);
  }

  #write(name: string, text: string): void {
    writeFileSync(join(this.#directory, name), text, { mode: 0o600 });
  }

  async #askReady(): Promise<void> {
    if (!existsSync(this.ca)) throw new Error(`${this.ca} is not written yet`);
    const ca = readFileSync(this.ca);
    const headers = { authorization: `Bearer ${this.token}` };
    await new Promise<void>((resolve, reject) => {
      const call = request(`${this.server}/readyz`, { ca, headers, agent: false }, (response) => {
        response.resume();
        if (response.statusCode === 200) resolve();
        else reject(new Error(`/readyz answered ${response.statusCode}`));
      });
      call.on('error', reject);
      call.end();
    });
  }
}
