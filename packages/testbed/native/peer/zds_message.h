// The messages of ZDS (packages/zds/proto/zds.proto), read and written by hand: the peer is one static program. A
// second implementation, from the description alone, also finds mistakes on which two users of one library would agree.
#pragma once
#include <string>
#include <string_view>

struct ZdsRequest {
  enum class Kind { add, del, snapshot_sent, keep };
  Kind kind = Kind::add;
  std::string uid;
  bool has_info = false; // of an Add: WorkloadInfo is present
  std::string name, workload_namespace, service_account;
};

// Throws std::runtime_error for bytes that are not a WorkloadRequest with a payload.
ZdsRequest decode_request(std::string_view bytes);
std::string encode_hello();
// An empty error is an acknowledgement.
std::string encode_ack(const std::string &error);
