// Encodes and decodes the messages of proto/zds.proto. What a peer sends is checked here, which never throws.
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { ZdsError } from './errors.js';
import {
  AddWorkloadSchema,
  DelWorkloadSchema,
  KeepWorkloadSchema,
  SnapshotSentSchema,
  Version,
  WorkloadRequestSchema,
  WorkloadResponseSchema,
  ZdsHelloSchema,
  type WorkloadRequest,
} from './generated/zds_pb.js';

/** Both ends read into buffers of this many bytes (ztunnel: src/inpod/protocol.rs; istio-cni: ztunnelserver.go). */
export const longestMessage = 1024;
/** How many characters of a refusal's text are kept: it comes from the peer, and goes into logs. */
const longestReason = 512;

/** Who a workload is, as the mesh's control plane knows it: by these ztunnel finds it and makes its SPIFFE id. */
export interface WorkloadIdentity {
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

export type ZdsRequest =
  | { readonly kind: 'add'; readonly uid: string; readonly identity: WorkloadIdentity }
  | { readonly kind: 'del'; readonly uid: string }
  | { readonly kind: 'keep'; readonly uid: string }
  | { readonly kind: 'snapshot' };

/** @throws ZdsError message-too-long. */
export function encodeRequest(request: ZdsRequest): Uint8Array {
  const bytes = toBinary(WorkloadRequestSchema, create(WorkloadRequestSchema, { payload: payloadOf(request) }));
  if (bytes.length > longestMessage)
    throw new ZdsError(
      'message-too-long',
      `ZDS ${request.kind}: ${bytes.length} bytes, and ztunnel reads at most ${longestMessage}; shorten the names`,
    );
  return bytes;
}

function payloadOf(request: ZdsRequest): WorkloadRequest['payload'] {
  switch (request.kind) {
    case 'add': {
      const { uid, identity } = request;
      return { case: 'add', value: create(AddWorkloadSchema, { uid, workloadInfo: { ...identity } }) };
    }
    case 'del':
      return { case: 'del', value: create(DelWorkloadSchema, { uid: request.uid }) };
    case 'keep':
      return { case: 'keep', value: create(KeepWorkloadSchema, { uid: request.uid }) };
    case 'snapshot':
      return { case: 'snapshotSent', value: create(SnapshotSentSchema) };
  }
}

/** What a peer's packet turned out to be: `violation` says what is wrong with it. */
export type Decoded<Value> = { readonly value: Value } | { readonly violation: string };

/** ztunnel's first packet. Only version V1 is known. */
export function decodeHello(bytes: Uint8Array): Decoded<'V1'> {
  try {
    const { version } = fromBinary(ZdsHelloSchema, bytes);
    if (version === Version.V1) return { value: 'V1' };
    return { violation: `Hello of version ${version}; this server speaks version ${Version.V1}` };
  } catch {
    return { violation: 'the first packet is no ZdsHello' };
  }
}

/** An acknowledgement: '' accepts, anything else is the reason of a refusal. */
export function decodeResponse(bytes: Uint8Array): Decoded<string> {
  try {
    const { payload } = fromBinary(WorkloadResponseSchema, bytes);
    if (payload.case === 'ack') return { value: printable(payload.value.error) };
    return { violation: 'a WorkloadResponse without an Ack' };
  } catch {
    return { violation: 'a packet that is no WorkloadResponse' };
  }
}

/** The text of a peer in a form that fits one line of a log. The result is '' only for ''. */
function printable(text: string): string {
  // Control characters (Cc), format characters such as direction marks (Cf), and line and paragraph separators.
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '?').slice(0, longestReason);
}
