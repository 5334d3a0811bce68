// Reads descriptors and credentials from the ancillary data of a received packet. It uses no sockets, so that it can be
// fuzzed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

// struct ucred of unix(7), host order.
struct PeerCredentials {
  int32_t pid = 0; // 0 for a process that our pid namespace does not show
  uint32_t uid = 0;
  uint32_t gid = 0;
};

struct ControlData {
  // In the order in which they came. They are open in this process from now on, and the caller of the parser owns them.
  std::vector<int> descriptors;
  std::optional<PeerCredentials> credentials; // SCM_CREDENTIALS; the first one if there were several
  bool unknown = false;                       // something well-formed that is neither
  bool malformed = false;                     // a length that does not fit; nothing after it was read
};

// Reads what recvmsg(2) left in msg_control. Layout: cmsg(3), on this machine's word size.
ControlData parseControl(const uint8_t *data, size_t size);
