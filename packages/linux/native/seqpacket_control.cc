// CMSG_NXTHDR is not used: it reads lengths in place and trusts them, and glibc's changed its checks between versions.
#include "seqpacket_control.h"

#include <cstring>
#include <sys/socket.h>

namespace {

constexpr size_t alignment = alignof(size_t);

size_t aligned(size_t length) {
  return (length + alignment - 1) & ~(alignment - 1);
}

// Where the payload of a control message begins: CMSG_LEN(0).
constexpr size_t headerBytes = CMSG_LEN(0);

} // namespace

ControlData parseControl(const uint8_t *data, size_t size) {
  ControlData found;
  size_t at = 0;
  while (at < size) {
    cmsghdr header;
    if (size - at < sizeof(header)) {
      found.malformed = true;
      return found;
    }
    std::memcpy(&header, data + at, sizeof(header));
    if (header.cmsg_len < headerBytes || header.cmsg_len > size - at) {
      found.malformed = true;
      return found;
    }
    const uint8_t *payload = data + at + headerBytes;
    const size_t length = header.cmsg_len - headerBytes;
    if (header.cmsg_level == SOL_SOCKET && header.cmsg_type == SCM_RIGHTS) {
      // A length that is not a multiple of an int still has whole descriptors in it, and they must not leak.
      for (size_t i = 0; i + sizeof(int) <= length; i += sizeof(int)) {
        int fd = -1;
        std::memcpy(&fd, payload + i, sizeof(fd));
        found.descriptors.push_back(fd);
      }
      found.malformed |= length % sizeof(int) != 0;
    } else if (header.cmsg_level == SOL_SOCKET && header.cmsg_type == SCM_CREDENTIALS) {
      PeerCredentials credentials;
      static_assert(sizeof(credentials) == sizeof(ucred));
      if (length != sizeof(credentials)) {
        found.malformed = true;
      } else if (!found.credentials) {
        std::memcpy(&credentials, payload, sizeof(credentials));
        found.credentials = credentials;
      }
    } else {
      found.unknown = true;
    }
    // The last message may end without padding: the step may lead past the end, and the loop ends.
    const size_t step = aligned(header.cmsg_len);
    if (step > size - at)
      break;
    at += step;
  }
  return found;
}
