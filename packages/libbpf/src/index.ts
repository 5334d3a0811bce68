// @sluice/libbpf: BPF objects, programs, maps, links, ring buffers and types, by libbpf.
export { BpfError } from './error.js';
export type { BpfErrorDetails } from './error.js';
export { BpfObject, openObject } from './object.js';
export type { MapDefinition, MapOptions, OpenOptions, ProgramDefinition } from './object.js';
export { BpfProgram } from './program.js';
export type { TestRunInput, TestRunResult } from './program.js';
export { BpfLink } from './link.js';
export { BpfMap } from './map.js';
export type { UpdateMode } from './map.js';
export { TypedMap } from './typed-map.js';
export type { MapCodec } from './typed-map.js';
export { possibleCpus, splitPerCpu } from './per-cpu.js';
export { RingBuffer } from './ring-buffer.js';
export type { RingBufferOptions } from './ring-buffer.js';
export { ATTACH_ALLOW_MULTI, ATTACH_ALLOW_OVERRIDE, queryCgroup } from './query.js';
export type { AttachedProgram, CgroupPrograms } from './query.js';
export { explainAttachFailure, findExclusiveProgram } from './attach-failure.js';
export type { ExclusiveProgram } from './attach-failure.js';
export { attachCgroupExclusively, detachCgroup } from './exclusive-attachment.js';
export type { OldAttachFlags } from './exclusive-attachment.js';
export { linkIds, linkInfo, mapIds, mapInfo, programInfo } from './info.js';
export type { LinkInfo, MapInfo, ProgramInfo } from './info.js';
export { probeHelper, probeLink, probeMapType, probeProgram } from './probe.js';
export { isBpfFileSystem } from './pin.js';
export { trimVerifierLog } from './verifier-log.js';
export { readBtf, resolveType } from './btf.js';
export type {
  BtfArray,
  BtfEnum,
  BtfFunctionProto,
  BtfInt,
  BtfMember,
  BtfModifier,
  BtfRecord,
  BtfSection,
  BtfType,
  BtfVariable,
} from './btf.js';
export { btfMaps } from './btf-maps.js';
export type { BtfMapDefinition } from './btf-maps.js';
export { generateCodecs } from './generate-codecs.js';
export { mapAccesses } from './map-accesses.js';
export type { MapAccess } from './map-accesses.js';
