// A ZDS client that behaves like ztunnel: it acknowledges, records what it was told, and exits on a protocol error, so that a
// mistake of the server shows.
import { fstatSync } from 'node:fs';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { connectSeqpacket, type SeqpacketConnection, type SeqpacketPacket } from '@sluice/linux';
import {
  Version,
  WorkloadRequestSchema,
  WorkloadResponseSchema,
  ZdsHelloSchema,
  type WorkloadInfo,
} from '../src/generated/zds_pb.js';

export const helloBytes = (version: number = Version.V1): Uint8Array =>
  toBinary(ZdsHelloSchema, create(ZdsHelloSchema, { version }));
export const ackBytes = (error = ''): Uint8Array =>
  toBinary(WorkloadResponseSchema, create(WorkloadResponseSchema, { payload: { case: 'ack', value: { error } } }));

/** The answer: '' or an error's text, possibly as a function of the request; 'silence' for none at all. */
export type Answer = (request: string) => string | typeof silence | Promise<string | typeof silence>;
export const silence = Symbol('no answer');

export interface ServedWorkload {
  readonly info: Pick<WorkloadInfo, 'name' | 'namespace' | 'serviceAccount'>;
  readonly inode: bigint;
}

export class ZdsClient implements Disposable {
  /** Every request in order: 'add uid', 'keep uid', 'del uid', 'snapshot'. */
  readonly log: string[] = [];
  /** What it would serve now. */
  readonly workloads = new Map<string, ServedWorkload>();
  /** Inodes of every namespace that it was given, by request. */
  readonly inodes: bigint[] = [];
  ready = false;
  /** Resolves when it is over: the error that made it exit, or undefined when the server left. */
  readonly over: Promise<string | undefined>;
  answer: Answer;
  /** Sees each descriptor while it is open. */
  onNetns: (fd: number) => void = () => undefined;
  readonly connection: SeqpacketConnection;
  readonly #named = new Set<string>();
  readonly #watchers = new Set<() => void>();

  private constructor(path: string, answer: Answer, before?: ZdsClient) {
    this.answer = answer;
    // A reconnecting ztunnel keeps its proxies; only the snapshot decides which of them stay.
    for (const [uid, workload] of before?.workloads ?? []) this.workloads.set(uid, workload);
    this.connection = connectSeqpacket(path);
    this.over = this.#run();
  }

  static connect(path: string, options: { readonly answer?: Answer; readonly before?: ZdsClient } = {}): ZdsClient {
    return new ZdsClient(path, options.answer ?? (() => ''), options.before);
  }

  /** Resolves as soon as the condition holds, which is checked after each request, and at the end. */
  async until(condition: (client: ZdsClient) => boolean): Promise<this> {
    while (!condition(this)) {
      await new Promise<void>((resolve) => {
        this.#watchers.add(resolve);
      });
      this.#watchers.clear();
      if (this.connection.closed && !condition(this)) throw new Error(`the client is over: ${this.log.join(', ')}`);
    }
    return this;
  }

  close(): void {
    this.connection.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #run(): Promise<string | undefined> {
    try {
      await this.connection.send(helloBytes());
      for (;;) {
        const packet = await this.connection.receive({ maxBytes: 1024, maxFds: 8 });
        if (packet === undefined) return undefined;
        const fatal = await this.#handle(packet);
        packet.close();
        this.#wake();
        if (fatal !== undefined) return fatal;
      }
    } catch {
      return undefined;
    } finally {
      this.connection.close();
      this.#wake();
    }
  }

  #wake(): void {
    for (const wake of this.#watchers) wake();
  }

  async #handle(packet: SeqpacketPacket): Promise<string | undefined> {
    const fatal = this.#protocolError(packet);
    if (fatal !== undefined) {
      this.log.push(`fatal: ${fatal}`);
      await this.connection.send(ackBytes(fatal));
      return fatal;
    }
    const { payload } = fromBinary(WorkloadRequestSchema, packet.bytes);
    const words = payload.case === 'snapshotSent' ? 'snapshot' : `${payload.case} ${payload.value?.uid}`;
    this.log.push(words);
    const fd = packet.fds[0]?.fd;
    const inode = fd === undefined ? undefined : fstatSync(fd, { bigint: true }).ino;
    if (inode !== undefined) this.inodes.push(inode);
    if (fd !== undefined) this.onNetns(fd);
    this.#wake();
    const answer = await this.answer(words);
    if (answer === '') this.#apply(payload, inode);
    if (answer !== silence) await this.connection.send(ackBytes(answer));
    return undefined;
  }

  #protocolError(packet: SeqpacketPacket): string | undefined {
    if (packet.truncated || packet.controlTruncated) return 'truncated';
    const { payload } = fromBinary(WorkloadRequestSchema, packet.bytes);
    const wanted = payload.case === 'add' ? 1 : 0;
    if (packet.fds.length !== wanted) return `${payload.case} with ${packet.fds.length} descriptors`;
    if (payload.case === undefined) return 'no payload';
    if (payload.case === 'add' && payload.value.workloadInfo === undefined) return 'no workload info';
    if (payload.case === 'snapshotSent' && this.ready) return 'a second snapshot';
    if (payload.case === 'keep' && this.ready) return 'keep after the snapshot';
    return undefined;
  }

  #apply(payload: ReturnType<typeof fromBinary<typeof WorkloadRequestSchema>>['payload'], inode?: bigint): void {
    switch (payload.case) {
      case 'add': {
        const { name = '', namespace = '', serviceAccount = '' } = payload.value.workloadInfo ?? {};
        this.#named.add(payload.value.uid);
        this.workloads.set(payload.value.uid, { info: { name, namespace, serviceAccount }, inode: inode ?? 0n });
        break;
      }
      case 'keep':
        this.#named.add(payload.value.uid);
        break;
      case 'del':
        this.#named.delete(payload.value.uid);
        this.workloads.delete(payload.value.uid);
        break;
      case 'snapshotSent':
        this.ready = true;
        for (const uid of this.workloads.keys()) if (!this.#named.has(uid)) this.workloads.delete(uid);
        break;
      case undefined:
        break;
    }
  }
}
