// The same client and the same server in pods that differ in nothing but who captures what they dial, and how.
import { statSync } from 'node:fs';
import { relative } from 'node:path';
import { attachPlan, CaptureMark, Datapath, WorkloadFlag } from '@sluice/datapath';
import { addRoute, addRule, Netns, netnsCookie } from '@sluice/linux';
import { Cgroup, cgroup2Root, endpoint, enterCommand, LineProcess, peerProgram, TestNode } from '@sluice/testbed';
import { redirectByIptables } from './istio-iptables.mjs';

/** One for both: to wake an idle core costs more than anything that is measured here, and not every time. */
const CORE = '1';
/** The server does not interrupt the client when it is woken: it runs when the client waits. */
const PATIENT = ['chrt', '--batch', '0'];
const SERVER_PORT = 15001;
const ROUTE_TABLE = 101;

/**
 * bare: the client dials the server's own address, and nobody is asked. outside: the same, in a pod that is not in the mesh of a
 * node that has Sluice. The others dial a pod of another node, and get the server in ztunnel's place.
 */
export const RIVALS = ['bare', 'outside', 'iptables', 'rewrite', 'route'];

const isSluice = (rival) => rival === 'rewrite' || rival === 'route';

export class Rivals {
  #node;
  #datapath;
  #clients = new Map();
  #targets = new Map();

  static async create() {
    const rivals = new Rivals();
    rivals.#node = await TestNode.create();
    const pinDirectory = `${await rivals.#node.bpffs()}/sluice`;
    rivals.pinDirectory = pinDirectory;
    rivals.#datapath = Datapath.open({ pinDirectory, cgroup: rivals.#node.cgroup.path });
    const ztunnel = await rivals.#node.pod({ name: 'ztunnel' });
    const pods = new Map();
    for (const rival of RIVALS) pods.set(rival, await rivals.#node.pod({ name: rival }));
    rivals.#enrol(ztunnel, pods);
    await redirectByIptables(pods.get('iptables'));
    for (const [rival, pod] of pods) await rivals.#start(rival, pod, ztunnel);
    return rivals;
  }

  /** Nanoseconds of each connect(), and of all of it with the server's line and the close. */
  connects(rival, family, count) {
    return this.#ask(rival, 'connect', family, count);
  }

  /** Nanoseconds of each byte there and back on one connection. */
  trips(rival, family, count) {
    return this.#ask(rival, 'trip', family, count);
  }

  async close() {
    this.#datapath.close();
    await this.#node.close();
  }

  #enrol(ztunnel, pods) {
    const cgroups = new Map();
    const netns = new Map();
    const localPods = new Map();
    const ownAddresses = new Map();
    const idOf = ({ cgroup }) => statSync(cgroup.path, { bigint: true }).ino;
    const put = (pod, info) => {
      const entry = { id: idOf(pod), ip: pod.ip4, detectedFlags: info.flags, ...info };
      cgroups.set(entry.id, entry);
      return entry;
    };
    put(ztunnel, { inMesh: false, flags: WorkloadFlag.ZTUNNEL });
    for (const [rival, pod] of pods) {
      if (!isSluice(rival)) continue;
      const cookie = netnsCookie(pod.netns);
      const byRoute = rival === 'route' ? WorkloadFlag.ROUTE : 0;
      const flags = WorkloadFlag.AMBIENT | WorkloadFlag.IN_POD | byRoute;
      netns.set(cookie, put(pod, { inMesh: true, flags }));
      for (const ip of pod.ips) localPods.set(ip, { netnsCookie: cookie, flags });
      ownAddresses.set(cookie, pod.ips);
    }
    const levels = [...pods.values(), ztunnel].map(
      ({ cgroup }) => relative(cgroup2Root(), cgroup.path).split('/').length,
    );
    const { failures } = this.#datapath.apply({
      cgroups,
      netns,
      localPods,
      ownAddresses,
      rules: [],
      settings: {
        ztunnelIPv4: undefined,
        ztunnelIPv6: undefined,
        noZtunnel: 'closed',
        ztunnelByMark: false,
        probesExempt: 'kubelet',
        hostNetnsCookie: netnsCookie(this.#node.netns.path),
        cgroupLevels: [...new Set(levels)],
        sampleEvery: 0,
      },
    });
    if (failures.length > 0) throw failures[0].error;
    const attached = this.#datapath.activate(attachPlan(this.#needs(ztunnel, pods.get('rewrite'))));
    if (attached.failures.length > 0) throw attached.failures[0].error;
    for (const [rival, pod] of pods) if (isSluice(rival)) this.#capture(rival, pod);
  }

  /** Programs are where an agent of inPod mode has them. */
  #needs(ztunnel, rewritten) {
    const place = ({ path, id }) => ({ path, id });
    return {
      mode: 'inPod',
      root: place(this.#node.cgroup),
      podsParents: [place(this.#node.cgroup.child('kubepods'))],
      kubelets: [],
      ztunnels: [place(ztunnel.cgroup)],
      rewritten: [place(rewritten.cgroup)],
      capturesDns: false,
      probesFromHost: false,
      ztunnelByMark: false,
    };
  }

  #capture(rival, pod) {
    const netns = Netns.open(pod.netns);
    this.#datapath.attachNetns(netns);
    if (rival === 'route') {
      const fwmark = { value: CaptureMark.ROUTE_MARK, mask: CaptureMark.ROUTE_MARK };
      for (const [family, source] of [
        [4, pod.ip4],
        [6, pod.ip6],
      ]) {
        const route = { family, table: ROUTE_TABLE, type: 'local', destination: 'default', interface: 'lo', source };
        addRoute(netns, route);
        addRule(netns, { family, priority: 2, fwmark, action: 'unreachable' });
        addRule(netns, { family, priority: 1, fwmark, table: ROUTE_TABLE });
      }
      this.#datapath.setRouted(netns.cookie, new Map([[0, { ipv4: true, ipv6: true }]]));
    }
    netns.close();
  }

  /** Those without Sluice are where none of its programs are, in cgroups as deep and as separate as the others'. */
  async #start(rival, pod, ztunnel) {
    const elsewhere = (name) => new Cgroup(`${this.#node.cgroup.path}-outside/kubepods/besteffort/${name}/app`).path;
    const hasPrograms = isSluice(rival) || rival === 'outside';
    const at = async (cgroup, argv, policy = []) => {
      const pinned = [...policy, 'taskset', '-c', CORE, peerProgram(), ...argv];
      const process = await LineProcess.start(enterCommand({ netns: pod.netns, cgroup }, pinned));
      await process.lineMatching(/^ready$/);
      return process;
    };
    const server = ['ztunnel', '--ports', String(SERVER_PORT), '--answer', '--echo'];
    await at(isSluice(rival) ? ztunnel.app.place.cgroup : elsewhere('ztunnel'), server, PATIENT);
    this.#clients.set(rival, await at(hasPrograms ? pod.app.place.cgroup : elsewhere('pod'), ['measure']));
    const isDirect = rival === 'bare' || rival === 'outside';
    const { remote } = this.#node;
    const [to, port] = isDirect ? [pod, SERVER_PORT] : [remote, 80];
    this.#targets.set(rival, { 4: endpoint(to.ip4, port), 6: endpoint(to.ip6, port) });
  }

  async #ask(rival, what, family, count) {
    const client = this.#clients.get(rival);
    client.writeLine(`${what} ${this.#targets.get(rival)[family]} ${count}`);
    return JSON.parse(await client.nextLine());
  }
}
