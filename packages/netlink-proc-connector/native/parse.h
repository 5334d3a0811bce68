// Turns bytes of the proc connector into records and counters. It uses no sockets and no clock, so that it can be
// fuzzed.
#pragma once
#include "record.h"
#include <vector>

// One counter per reason for which something was not turned into a record. They only grow.
struct ParseCounters {
  uint64_t messages = 0;       // well-formed proc connector messages, acknowledgements included
  uint64_t foreign = 0;        // datagrams not sent by the kernel (nl_pid != 0)
  uint64_t truncated = 0;      // datagrams or messages that end before their own header says so
  uint64_t malformed = 0;      // lengths that contradict each other, or a CPU number no kernel has
  uint64_t unexpectedType = 0; // netlink messages that are not NLMSG_DONE, or not of CN_IDX_PROC / CN_VAL_PROC
  uint64_t unknownKind = 0;    // kinds that a newer kernel may have and that this parser does not know
  uint64_t outOfOrder = 0;     // sequence numbers that went back
  uint64_t gaps = 0;           // places where sequence numbers jumped
  uint64_t lost = 0;           // the sum of those jumps: messages the kernel made and we never parsed
};

// The kernel numbers its messages per CPU and numbers every one of them, delivered or not (send_msg() in
// drivers/connector/cn_proc.c). So a jump in a CPU's numbers is the exact count of what was lost on it.
class Parser {
public:
  // Parses one datagram and appends its records, an overrun record before the first one after a gap.
  // sender_port is sockaddr_nl.nl_pid; truncated is MSG_TRUNC of the receive.
  void feed(const uint8_t *data, size_t size, uint32_t senderPort, bool truncated, std::vector<Record> &out);

  // The socket returned ENOBUFS. Messages that were queued before the loss are still to come, so nothing is appended
  // yet.
  void noteSocketOverrun() { overrunUnreported_ = true; }

  // The queue is empty. If no gap has shown yet what the noted overrun lost, appends an overrun with an unknown count.
  void flushSocketOverrun(uint64_t nowNs, std::vector<Record> &out);

  const ParseCounters &counters() const { return counters_; }

private:
  struct CpuSequence {
    bool known = false;
    uint32_t next = 0;
  };
  void feedConnectorMessage(const uint8_t *data, size_t size, std::vector<Record> &out);
  void trackSequence(const Record &record, std::vector<Record> &out);

  ParseCounters counters_;
  std::vector<CpuSequence> cpus_;
  bool overrunUnreported_ = false;
};
