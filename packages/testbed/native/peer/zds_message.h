// The messages of ZDS (packages/zds/proto/zds.proto), read and written by hand: the peer is one static program, and a
// second reading of the protocol, from its description alone, finds what two users of one library agree to get wrong.
#pragma once
#include <string>
#include <string_view>

struct ZdsRequest {
  enum class Kind { add, del, snapshot_sent, keep };
  Kind kind = Kind::add;
  std::string uid;
  bool has_info = false; // of an Add: WorkloadInfo was there
  std::string name, workload_namespace, service_account;
};

// Throws std::runtime_error for bytes that are no WorkloadRequest with a payload.
ZdsRequest decode_request(std::string_view bytes);
std::string encode_hello();
// An empty error is an acknowledgement.
std::string encode_ack(const std::string &error);
