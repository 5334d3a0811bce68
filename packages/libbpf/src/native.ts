// Loads the addon and gives its functions types. Nothing outside this package sees these functions: the classes around them own
// the descriptors and word the errors.
import { createRequire } from 'node:module';
import type { BtfType } from './btf.js';

export interface NativeFd {
  /** The descriptor, -1 once closed. */
  readonly number: number;
  close(): void;
}

export interface MapFacts {
  id: number;
  name: string;
  type: number;
  keySize: number;
  valueSize: number;
  maxEntries: number;
  flags: number;
}

export interface MapDefinitionRow extends Omit<MapFacts, 'id'> {
  /** A section of variables (.rodata, .data, .bss) that libbpf has made into a map. */
  internal: boolean;
}

export interface ProgramDefinitionRow {
  name: string;
  sectionName: string;
  type: number;
  expectedAttachType: number;
  autoload: boolean;
  /** By number; none once the object is loaded. */
  helpers: number[];
}

export interface ProgramFacts {
  id: number;
  type: number;
  name: string;
  tag: string;
  loadedByUid: number;
  loadTimeNs: bigint;
  gplCompatible: boolean;
  instructionBytes: number;
  verifiedInstructions: number;
  runs: bigint;
  runTimeNs: bigint;
  mapIds: number[];
}

export interface LinkFacts {
  id: number;
  programId: number;
  type: number;
  cgroupId?: bigint;
  netnsInode?: number;
  attachType?: number;
}

export interface NativeObject {
  maps(): MapDefinitionRow[];
  programs(): ProgramDefinitionRow[];
  btf(): BtfType[];
  setAutoload(program: string, autoload: boolean): void;
  setMaxEntries(map: string, maxEntries: number): void;
  reuseMap(map: string, fd: number): void;
  initialValue(map: string): Buffer | undefined;
  setInitialValue(map: string, value: Uint8Array): void;
  load(): void;
  mapFd(map: string): number;
  programFd(program: string): number;
  close(): void;
}

export interface BatchOutcome {
  done: number;
  errno: number;
  code?: string;
}

export interface NativeRingReader {
  readonly dropped: number;
  ref(): void;
  unref(): void;
  close(): void;
}

export interface Native {
  Fd: new (fd: number) => NativeFd;
  openDirectory(path: string): number;
  objPin(fd: number, path: string): void;
  objGet(path: string): number;

  ObjectHandle: new (path: string) => NativeObject;
  readBtf(path: string): BtfType[];

  programInfo(fd: number): ProgramFacts;
  programFdById(id: number): number;
  testRun(
    fd: number,
    data: Uint8Array | undefined,
    ctx: Uint8Array | undefined,
    repeat: number,
    ctxInPlace: boolean,
  ): { retval: number; durationNs: number; data?: Buffer; ctx?: Buffer };

  mapInfo(fd: number): MapFacts;
  mapFdById(id: number): number;
  mapNextId(id: number): number | undefined;
  mapLookup(fd: number, key: Uint8Array, keySize: number, valueBytes: number): Buffer | undefined;
  mapUpdate(fd: number, key: Uint8Array, keySize: number, value: Uint8Array, valueBytes: number, flags: number): void;
  mapFreeze(fd: number): void;
  mapDelete(fd: number, key: Uint8Array, keySize: number): boolean;
  mapNextKey(fd: number, key: Uint8Array | undefined, keySize: number): Buffer | undefined;
  mapLookupBatch(
    fd: number,
    cursor: Uint8Array | undefined,
    keySize: number,
    valueBytes: number,
    count: number,
  ): BatchOutcome & { keys: Buffer; values: Buffer; cursor: Buffer };
  mapUpdateBatch(
    fd: number,
    keys: Uint8Array,
    keySize: number,
    values: Uint8Array,
    valueBytes: number,
    count: number,
    flags: number,
  ): BatchOutcome;
  possibleCpus(): number;

  linkCreate(programFd: number, targetFd: number, attachType: number): number;
  linkTracepoint(programFd: number, name: string): number;
  linkRawTracepoint(programFd: number): number;
  iterate(linkFd: number, netnsFd: number, netnsPath: string): Buffer;
  linkUpdate(linkFd: number, programFd: number): void;
  linkDetach(linkFd: number): void;
  linkInfo(fd: number): LinkFacts;
  linkFdById(id: number): number;
  linkNextId(id: number): number | undefined;

  programQuery(targetFd: number, attachType: number, queryFlags: number): { attachFlags: number; programIds: number[] };
  programAttach(programFd: number, targetFd: number, attachType: number, flags: number): void;
  programDetach(programFd: number, targetFd: number, attachType: number): void;

  RingReader: new (
    mapFd: number,
    queueBytes: number,
    callback: (bytes: Buffer, lengths: Uint32Array, dropped: number) => void,
  ) => NativeRingReader;

  probeLoad(type: number, attachType: number, helper?: number): { errno: number; log: string };
  probeLink(type: number, attachType: number): boolean;
  probeMapType(type: number): boolean;

  helperNames: string[];
  attachTypeNames: string[];
  programTypeNames: string[];
  mapTypeNames: string[];
  linkTypeNames: string[];
}

function load(): Native {
  // The path is the same from src/ (tests) and from dist/.
  const path = '../build/libbpf.node';
  try {
    return createRequire(import.meta.url)(path) as Native;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'MODULE_NOT_FOUND') {
      throw new Error(
        '@sluice/libbpf: build/libbpf.node is not built. Run "make" in the package (it needs g++, make and libbpf-dev).',
        { cause: error },
      );
    }
    if (message.includes('libbpf.so')) {
      throw new Error('@sluice/libbpf: the library libbpf.so.1 is missing. Install it (Debian: apt install libbpf1).', {
        cause: error,
      });
    }
    throw error;
  }
}

export const native: Native = load();
