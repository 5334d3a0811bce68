// Parses an rtnetlink answer to RTM_GETADDR into addresses. It uses no sockets, so that it can be fuzzed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

struct Address {
  uint32_t ifindex;
  uint8_t family; // 4 or 6
  uint8_t prefixLength;
  uint8_t scope;     // enum rt_scope_t, as the kernel gave it
  uint8_t flags;     // the IFA_F_* of linux/if_addr.h below 0x100
  uint8_t bytes[16]; // network order; IPv4 uses the first four
  std::string label; // IFA_LABEL: IPv4 only, and it may be an alias ("eth0:1"), so not the interface's name
};

enum class DumpState {
  More,        // every message was read; the dump goes on in the next datagram
  Done,        // there was an NLMSG_DONE
  Failed,      // NLMSG_ERROR, or NLMSG_DONE with an error: see `error`
  Interrupted, // the tables changed during the dump, or NLMSG_OVERRUN: ask again
  Malformed,   // a length that does not fit; nothing after it can be trusted
};

struct DumpStep {
  DumpState state;
  int error; // positive errno when Failed
};

// Reads one datagram. Messages of another sequence number are skipped, as are families other than IPv4 and IPv6.
// Appends to `found` everything that was read before it stopped. Layout: rtnetlink(7), netlink(7).
DumpStep parseAddressDump(const uint8_t *data, size_t size, uint32_t sequence, std::vector<Address> &found);
