// DNS of a pod whose DNS is captured, through real sockets: who answers, and what the client sees of it.
import { fileURLToPath } from 'node:url';
import { Netns } from '@sluice/linux';
import { LineProcess, endpoint, enterCommand, requires, type Pod } from '@sluice/testbed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WorkloadFlag } from '../src/index.js';
import { MeshedNode } from './meshed-node.js';

const need = requires('root', 'bpf', 'cgroup2', 'netns');
const SERVER = fileURLToPath(new URL('name-server.mjs', import.meta.url));
const ASKER = fileURLToPath(new URL('name-asker.mjs', import.meta.url));

type Step = { readonly step: string; readonly [detail: string]: unknown };
type Outcome = Record<string, unknown>;
interface Answer {
  readonly by: string;
  readonly from: string;
  readonly bytes: number;
}
const answersOf = (outcome: Outcome | undefined): Answer[] => (outcome?.['answers'] ?? []) as Answer[];

/** A process, in a given place, that asks name servers. */
class Asker {
  readonly #process: LineProcess;
  private constructor(process: LineProcess) {
    this.#process = process;
  }
  static async at(cgroup: string, netns: string): Promise<Asker> {
    const process_ = await LineProcess.start(enterCommand({ cgroup, netns }, [process.execPath, ASKER]));
    await process_.lineMatching(/^ready$/);
    return new Asker(process_);
  }
  async do(...steps: Step[]): Promise<Outcome[]> {
    this.#process.writeLine(JSON.stringify(steps));
    return JSON.parse(await this.#process.nextLine()) as Outcome[];
  }
  /** The outcome of one step. */
  async one(step: Step): Promise<Outcome> {
    return (await this.do(step))[0] as Outcome;
  }
  /** The outcome of the last step, on a socket that is opened before and closed after. */
  async with(open: Omit<Step, 'step'>, ...steps: Step[]): Promise<Outcome[]> {
    const socket = { socket: 'it' };
    const all = [{ step: 'open', ...socket, ...open }, ...steps.map((step) => ({ ...socket, ...step }))];
    return (await this.do(...all, { step: 'close', ...socket })).slice(1, -1);
  }
}

const CAPTURED = WorkloadFlag.IN_POD | WorkloadFlag.DNS_CAPTURE;
const connect = (to: string): Step => ({ step: 'connect', to });
const send = (to?: string, name?: string): Step => ({ step: 'send', to, name });
const receive = (count = 1): Step => ({ step: 'receive', count });
const names: Step = { step: 'names' };
const disconnect: Step = { step: 'disconnect' };

describe.skipIf(need.skip)(`DNS${need.label}`, () => {
  let mesh: MeshedNode;
  let ztunnel: Pod;
  let pod: Pod;
  let waiting: Pod;
  let uncaptured: Pod;
  let asker: Asker;
  const servers: Pod[] = [];
  /** The two name servers in one family, as an IPv6 socket may write their addresses. */
  let ask4: string[];
  let ask6: string[];
  let askMapped: string[];

  const serve = async (place: { cgroup: string; netns: string }, name: string, ...places: string[]): Promise<void> => {
    const server = await LineProcess.start(enterCommand(place, [process.execPath, SERVER, name, ...places]));
    await server.lineMatching(/^ready$/);
  };
  const resolverIn = (netns: string): Promise<void> =>
    serve({ cgroup: ztunnel.app.place.cgroup, netns }, 'resolver', '127.0.0.1:15053', '[::1]:15053');
  const events = (): Record<'dns-asked' | 'dns-answered', bigint> => mesh.datapath.counters().events;

  beforeAll(async () => {
    mesh = await MeshedNode.create();
    const { node } = mesh;
    const standIn = await node.ztunnel({ mode: 'answer' });
    ztunnel = standIn.pod;
    for (const name of ['one', 'two']) {
      const server = await node.pod({ name });
      const at = server.ips.flatMap((ip) => [endpoint(ip, 53), endpoint(ip, 5353), endpoint(ip, 443)]);
      await serve({ cgroup: server.app.place.cgroup, netns: server.netns }, name, ...at);
      servers.push(server);
    }
    ask4 = servers.map(({ ip4 }) => endpoint(ip4, 53));
    ask6 = servers.map(({ ip6 }) => endpoint(ip6, 53));
    askMapped = servers.map(({ ip4 }) => `[::ffff:${ip4}]:53`);
    pod = await node.pod({ name: 'captured' });
    waiting = await node.pod({ name: 'waiting' });
    uncaptured = await node.pod({ name: 'uncaptured' });
    await resolverIn(pod.netns);
    await resolverIn(waiting.netns);
    mesh.setZtunnel(standIn);
    mesh.enrol(pod, CAPTURED);
    mesh.enrol(waiting, CAPTURED | WorkloadFlag.PENDING);
    mesh.enrol(uncaptured, WorkloadFlag.IN_POD);
    mesh.apply();
    asker = await Asker.at(pod.app.place.cgroup, pod.netns);
  });
  afterAll(async () => mesh?.close());

  const FAMILIES = [
    ['IPv4', 4, () => ask4, () => pod.ip4],
    ['IPv6', 6, () => ask6, () => pod.ip6],
    ['v4-mapped', 6, () => askMapped, () => `::ffff:${pod.ip4}`],
  ] as const;

  describe.each(FAMILIES)('%s', (_name, family, list, own) => {
    it('a connected socket: the resolver answers, as the server', async () => {
      const [to = ''] = list();
      const before = events();
      const [, , answer, shown] = await asker.with({ family }, connect(to), send(), receive(), names);
      expect(answer).toMatchObject({ answers: [{ by: 'resolver', from: to }] });
      expect(shown).toMatchObject({ peer: to, local: expect.stringContaining(own()) });
      // On a connected socket it is counted as a decision, and not as a datagram.
      expect(events()).toMatchObject({
        'dns-asked': before['dns-asked'],
        'dns-answered': before['dns-answered'] + 1n,
      });
    });

    it('a socket that is not connected: the resolver answers, as the server', async () => {
      const [to = ''] = list();
      const before = events();
      const [, answer, shown] = await asker.with({ family }, send(to), receive(), names);
      expect(answer).toMatchObject({ answers: [{ by: 'resolver', from: to }] });
      expect(shown).toMatchObject({ peer: 'ERR_SOCKET_DGRAM_NOT_CONNECTED' });
      expect(events()).toMatchObject({
        'dns-asked': before['dns-asked'] + 1n,
        'dns-answered': before['dns-answered'] + 1n,
      });
    });

    it('several servers: as many answers as questions, from those that were asked', async () => {
      const [one = '', two = ''] = list();
      const questions = [send(one), send(two), send(two), send(one)];
      const outcomes = await asker.with({ family }, ...questions, receive(4));
      const answers = answersOf(outcomes.at(-1));
      expect(answers.map(({ by }) => by)).toEqual(Array.from({ length: 4 }, () => 'resolver'));
      expect(answers.map(({ from }) => from)).toEqual([one, two, two, one]);
    });

    it('one server after the other on one socket', async () => {
      const [one = '', two = ''] = list();
      const steps = [send(one), receive(), send(two), receive(), send(one), receive()];
      const outcomes = await asker.with({ family }, ...steps);
      const from = outcomes.flatMap((outcome) => answersOf(outcome).map((answer) => answer.from));
      expect(from).toEqual([one, two, one]);
    });

    it('more questions than are remembered: the oldest are forgotten', async () => {
      const [one = '', two = ''] = list();
      // Ten questions to the first server and eight to the second; no answer is read before all are asked.
      const questions = [...Array.from({ length: 10 }, () => send(one)), ...Array.from({ length: 8 }, () => send(two))];
      await asker.do({ step: 'open', socket: 'many', family, deaf: true });
      await asker.do(...questions.map((step) => ({ ...step, socket: 'many' })));
      const heard = await asker.do({ step: 'listen', socket: 'many' }, { ...receive(18), socket: 'many' });
      await asker.do({ step: 'close', socket: 'many' });
      expect(answersOf(heard.at(-1)).map(({ from }) => from)).toEqual(Array.from({ length: 18 }, () => two));
    });

    it('a socket that connects to another server, and then to none', async () => {
      const [one = '', two = ''] = list();
      const outcomes = await asker.with(
        { family },
        connect(one),
        send(),
        receive(),
        names,
        disconnect,
        connect(two),
        send(),
        receive(),
        names,
        disconnect,
        names,
        send(one),
        receive(),
      );
      expect(outcomes[2]).toMatchObject({ answers: [{ by: 'resolver', from: one }] });
      expect(outcomes[3]).toMatchObject({ peer: one });
      expect(outcomes[7]).toMatchObject({ answers: [{ by: 'resolver', from: two }] });
      expect(outcomes[8]).toMatchObject({ peer: two });
      expect(outcomes[10]).toMatchObject({ peer: 'ERR_SOCKET_DGRAM_NOT_CONNECTED' });
      expect(outcomes[12]).toMatchObject({ answers: [{ by: 'resolver', from: one }] });
    });

    it('a socket that goes from a name server to another destination remembers nothing', async () => {
      const [to = ''] = list();
      const other = to.replace(/:53$/, ':5353');
      const outcomes = await asker.with({ family }, connect(to), disconnect, connect(other), send(), receive(), names);
      expect(outcomes[4]).toMatchObject({ answers: [{ by: 'one', from: other }] });
      expect(outcomes[5]).toMatchObject({ peer: other, local: expect.stringContaining(own()) });
    });

    it('a large answer', async () => {
      const [to = ''] = list();
      const [, answer] = await asker.with({ family }, send(to, 'large.test'), receive());
      expect(answer).toMatchObject({ answers: [{ by: 'resolver', from: to }] });
      expect(answersOf(answer)[0]?.bytes).toBeGreaterThan(3000);
    });

    it('over TCP', async () => {
      const [to = ''] = list();
      const answer = await asker.one({ step: 'tcp', to });
      expect(answer).toMatchObject({ by: 'resolver', protocol: 'tcp', seen: to });
      expect(answer).toMatchObject({ local: expect.stringContaining(own()) });
      expect((await asker.one({ step: 'tcp', to, name: 'large.test' }))['bytes']).toBeGreaterThan(3000);
      expect(mesh.handoffs()).toBe(0);
    });

    it('only port 53 is a name server', async () => {
      for (const port of [5353, 443]) {
        const to = (list()[0] ?? '').replace(/:53$/, `:${port}`);
        const [, , answer, shown] = await asker.with({ family }, connect(to), send(), receive(), names);
        expect(answer).toMatchObject({ answers: [{ by: 'one', from: to }] });
        expect(shown).toMatchObject({ peer: to });
        const [, unconnected] = await asker.with({ family }, send(to), receive());
        expect(unconnected).toMatchObject({ answers: [{ by: 'one', from: to }] });
      }
    });

    it("a socket that is older than the pod's enrolment: a connected one goes on, an unconnected one is captured", async () => {
      const [to = ''] = list();
      const socket = { socket: `early ${family}` };
      const other = { socket: `connected ${family}` };
      mesh.leave(pod);
      mesh.apply();
      await asker.do({ step: 'open', family, ...socket }, { step: 'open', family, ...other });
      const [, before] = await asker.do({ ...send(to), ...socket }, { ...receive(), ...socket });
      const [, , connected] = await asker.do(
        { ...connect(to), ...other },
        { ...send(), ...other },
        { ...receive(), ...other },
      );
      mesh.enrol(pod, CAPTURED);
      mesh.apply();
      const [, after] = await asker.do({ ...send(to), ...socket }, { ...receive(), ...socket });
      const [, still] = await asker.do({ ...send(), ...other }, { ...receive(), ...other });
      await asker.do({ step: 'close', ...socket }, { step: 'close', ...other });
      expect(before).toMatchObject({ answers: [{ by: 'one', from: to }] });
      expect(connected).toMatchObject({ answers: [{ by: 'one', from: to }] });
      expect(after).toMatchObject({ answers: [{ by: 'resolver', from: to }] });
      expect(still).toMatchObject({ answers: [{ by: 'one', from: to }] });
    });
  });

  it('an IPv6 socket asks in both families at once', async () => {
    const to = [ask6[0] ?? '', askMapped[0] ?? '', ask6[1] ?? '', askMapped[1] ?? ''];
    const outcomes = await asker.with({ family: 6 }, ...to.map((server) => send(server)), receive(4));
    const answers = answersOf(outcomes.at(-1));
    expect(answers.map(({ by }) => by)).toEqual(to.map(() => 'resolver'));
    expect(answers.map(({ from }) => from).toSorted()).toEqual(to.toSorted());
  });

  it('an answer that is not the resolver’s is left alone', async () => {
    const [to = ''] = ask4;
    const elsewhere = to.replace(/:53$/, ':5353');
    const outcomes = await asker.with({ family: 4 }, send(elsewhere), receive(), send(to), receive());
    expect(outcomes[1]).toMatchObject({ answers: [{ by: 'one', from: elsewhere }] });
    expect(outcomes[3]).toMatchObject({ answers: [{ by: 'resolver', from: to }] });
    // A client that asks the resolver by its own address sees that address.
    const [, direct] = await asker.with({ family: 4 }, send('127.0.0.1:15053'), receive());
    expect(direct).toMatchObject({ answers: [{ by: 'resolver', from: '127.0.0.1:15053' }] });
  });

  it('c-ares: over UDP, with two servers, and over TCP after a cut answer', async () => {
    const list = servers.map(({ ip4 }) => ip4);
    expect(await asker.one({ step: 'resolve', servers: list, name: 'who.test' })).toMatchObject({
      by: 'resolver',
      protocol: 'udp',
    });
    expect(await asker.one({ step: 'resolve', servers: list, name: 'cut.test' })).toMatchObject({
      by: 'resolver',
      protocol: 'tcp',
    });
    const six = servers.map(({ ip6 }) => ip6);
    expect(await asker.one({ step: 'resolve', servers: six, name: 'who.test' })).toMatchObject({ by: 'resolver' });
  });

  describe('is not captured', () => {
    const direct = async (who: Asker, to = ask4[0] ?? '', by = 'one', open: object = {}): Promise<void> => {
      const [, , connected, shown] = await who.with({ family: 4, ...open }, connect(to), send(), receive(), names);
      expect(connected).toMatchObject({ answers: [{ by, from: to }] });
      expect(shown).toMatchObject({ peer: to });
      const [, unconnected] = await who.with({ family: 4, ...open }, send(to), receive());
      expect(unconnected).toMatchObject({ answers: [{ by, from: to }] });
    };

    it('from ztunnel, in the pod’s own namespace', async () => {
      const who = await Asker.at(ztunnel.app.place.cgroup, pod.netns);
      await direct(who);
      expect(await who.one({ step: 'tcp', to: ask4[0] })).toMatchObject({ by: 'one' });
    });

    it('from a socket with ztunnel’s mark, where the mark counts', async () => {
      const marked = { mark: 0x539 };
      const [, captured] = await asker.with({ family: 4, ...marked }, send(ask4[0]), receive());
      expect(captured).toMatchObject({ answers: [{ by: 'resolver' }] });
      mesh.settings = { ...mesh.settings, ztunnelByMark: true };
      mesh.apply();
      await direct(asker, ask4[0], 'one', marked);
      mesh.settings = { ...mesh.settings, ztunnelByMark: false };
      mesh.apply();
    });

    it('on the loopback, and at the pod’s own IP', async () => {
      await serve({ cgroup: pod.app.place.cgroup, netns: pod.netns }, 'local', '127.0.0.1:53', endpoint(pod.ip4, 53));
      await direct(asker, '127.0.0.1:53', 'local');
      await direct(asker, endpoint(pod.ip4, 53), 'local');
    });

    it('from a pending pod, from another namespace, or from a pod whose DNS is not captured', async () => {
      await direct(await Asker.at(waiting.app.place.cgroup, waiting.netns));
      await direct(await Asker.at(uncaptured.app.place.cgroup, uncaptured.netns));
      await direct(await Asker.at(pod.app.place.cgroup, mesh.node.netns.path));
      const entered = await Asker.at(mesh.node.cgroup.child('system').path, pod.netns);
      expect(await entered.with({ family: 4 }, send(ask4[0]), receive())).toMatchObject([
        {},
        { answers: [{ by: 'resolver', from: ask4[0] }] },
      ]);
    });

    it('where port 53 is excluded; an excluded range does not matter', async () => {
      mesh.rules.push({ kind: 'cidr', workload: pod.cgroup.id, action: 'exclude', cidr: '0.0.0.0/0' });
      mesh.apply();
      const [, captured] = await asker.with({ family: 4 }, send(ask4[0]), receive());
      expect(captured).toMatchObject({ answers: [{ by: 'resolver' }] });
      mesh.rules.push({ kind: 'port', workload: pod.cgroup.id, direction: 'outbound', action: 'exclude', port: 53 });
      mesh.apply();
      await direct(asker);
      expect(await asker.one({ step: 'tcp', to: ask4[0] })).toMatchObject({ by: 'one' });
      mesh.rules.length = 0;
      mesh.apply();
    });

    it('from a socket that is bound to a device, which cannot reach the loopback', async () => {
      using netns = Netns.open(pod.netns);
      const device = netns.addresses().find(({ address }) => address === pod.ip4)?.ifindex;
      expect(device).toBeGreaterThan(0);
      await direct(asker, ask4[0], 'one', { device });
    });

    it('from a server that answers clients on port 53', async () => {
      const who = await Asker.at(uncaptured.app.place.cgroup, uncaptured.netns);
      const bind = endpoint(uncaptured.ip4, 53);
      const to = endpoint(pod.ip4, 53);
      const [, answer] = await who.with({ family: 4, bind }, send(to), receive());
      expect(answer).toMatchObject({ answers: [{ by: 'local', from: to, peer: bind }] });
    });
  });
});
