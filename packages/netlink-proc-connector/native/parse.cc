// The proc connector's wire format: nlmsghdr, cn_msg, proc_event (linux/netlink.h, linux/connector.h, linux/cn_proc.h).
// Everything is copied out by memcpy: the bytes come from a socket and may be unaligned.
#include "parse.h"
#include <cstring>
#include <linux/cn_proc.h>
#include <linux/connector.h>
#include <linux/netlink.h>

namespace {

// The largest CONFIG_NR_CPUS of any architecture; a greater number is damage, not a machine.
constexpr uint32_t mostCpus = 8192;
using EventData = decltype(proc_event::event_data);
constexpr size_t eventHeaderBytes = offsetof(proc_event, event_data);

// struct cn_msg ends in a flexible array, which C++ does not allow as a value; this is its fixed part.
struct ConnectorHeader {
  uint32_t idx, val, seq, ack;
  uint16_t len, flags;
};
static_assert(sizeof(ConnectorHeader) == sizeof(cn_msg), "cn_msg without its data");

// How many bytes of event_data a kind needs, or -1 for a kind we do not know.
int eventBytes(uint32_t kind) {
  switch (kind) {
  case kindAck:
    return sizeof(uint32_t);
  case kindFork:
    return sizeof(EventData::fork);
  case kindExec:
    return sizeof(EventData::exec);
  case kindUid:
  case kindGid:
    return sizeof(EventData::id);
  case kindSid:
    return sizeof(EventData::sid);
  case kindPtrace:
    return sizeof(EventData::ptrace);
  case kindComm:
    return sizeof(EventData::comm);
  case kindCoredump:
    return sizeof(EventData::coredump);
  case kindExit:
    return sizeof(EventData::exit);
  default:
    return -1;
  }
}

// words is event_data as six 32-bit words; every kind is a sequence of those.
void fillFromWords(Record &record, const uint32_t words[6]) {
  if (record.kind == kindAck) {
    record.args[0] = words[0];
    return;
  }
  if (record.kind == kindFork) { // the parent comes first on the wire
    record.args[0] = words[0];
    record.args[1] = words[1];
    record.pid = static_cast<int32_t>(words[2]);
    record.tgid = static_cast<int32_t>(words[3]);
    return;
  }
  record.pid = static_cast<int32_t>(words[0]);
  record.tgid = static_cast<int32_t>(words[1]);
  if (record.kind == kindComm) {
    std::memcpy(record.comm, words + 2, sizeof record.comm);
    record.comm[sizeof record.comm - 1] = '\0';
  } else {
    std::memcpy(record.args, words + 2, sizeof record.args);
  }
}

} // namespace

void Parser::feed(const uint8_t *data, size_t size, uint32_t senderPort, bool truncated, std::vector<Record> &out) {
  // Root in any user namespace may send to a netlink socket; only port 0 is the kernel.
  if (senderPort != 0) {
    counters_.foreign++;
    return;
  }
  if (truncated) {
    counters_.truncated++;
    return;
  }
  for (size_t at = 0; at < size;) {
    const size_t left = size - at;
    nlmsghdr header;
    if (left < sizeof header) {
      counters_.truncated++;
      return;
    }
    std::memcpy(&header, data + at, sizeof header);
    if (header.nlmsg_len < sizeof header) {
      counters_.malformed++; // it is not known any more where the next message starts
      return;
    }
    if (header.nlmsg_len > left) {
      counters_.truncated++;
      return;
    }
    if (header.nlmsg_type == NLMSG_DONE) {
      feedConnectorMessage(data + at + NLMSG_HDRLEN, header.nlmsg_len - NLMSG_HDRLEN, out);
    } else if (header.nlmsg_type != NLMSG_NOOP) {
      counters_.unexpectedType++;
    }
    at += NLMSG_ALIGN(static_cast<size_t>(header.nlmsg_len));
  }
}

void Parser::feedConnectorMessage(const uint8_t *data, size_t size, std::vector<Record> &out) {
  ConnectorHeader header;
  if (size < sizeof header) {
    counters_.truncated++;
    return;
  }
  std::memcpy(&header, data, sizeof header);
  if (header.idx != CN_IDX_PROC || header.val != CN_VAL_PROC) {
    counters_.unexpectedType++;
    return;
  }
  if (header.len > size - sizeof header) {
    counters_.truncated++;
    return;
  }
  if (header.len < eventHeaderBytes) {
    counters_.malformed++;
    return;
  }
  const uint8_t *event = data + sizeof header;
  Record record;
  record.seq = header.seq;
  record.ack = header.ack;
  std::memcpy(&record.kind, event + offsetof(proc_event, what), sizeof record.kind);
  std::memcpy(&record.cpu, event + offsetof(proc_event, cpu), sizeof record.cpu);
  std::memcpy(&record.timestampNs, event + offsetof(proc_event, timestamp_ns), sizeof record.timestampNs);
  if (record.cpu >= mostCpus) {
    counters_.malformed++;
    return;
  }
  const int needed = eventBytes(record.kind);
  const size_t have = header.len - eventHeaderBytes;
  if (needed >= 0 && have < static_cast<size_t>(needed)) {
    counters_.malformed++;
    return;
  }
  // From here on the message counts as received, even if its kind is unknown, because it took a sequence number.
  trackSequence(record, out);
  counters_.messages++;
  if (needed < 0) {
    counters_.unknownKind++;
    return;
  }
  uint32_t words[6] = {};
  std::memcpy(words, event + eventHeaderBytes, static_cast<size_t>(needed));
  fillFromWords(record, words);
  out.push_back(record);
}

void Parser::trackSequence(const Record &record, std::vector<Record> &out) {
  if (record.cpu >= cpus_.size())
    cpus_.resize(record.cpu + 1);
  CpuSequence &cpu = cpus_[record.cpu];
  const uint32_t jump = record.seq - cpu.next; // modulo 2^32, as the kernel counts
  if (cpu.known && jump != 0) {
    if (jump > INT32_MAX) {
      counters_.outOfOrder++;
    } else {
      counters_.gaps++;
      counters_.lost += jump;
      overrunUnreported_ = false;
      out.push_back(makeOverrun(causeSocket, record.cpu, record.timestampNs, true, jump));
    }
  }
  cpu.known = true;
  cpu.next = record.seq + 1;
}

void Parser::flushSocketOverrun(uint64_t nowNs, std::vector<Record> &out) {
  if (!overrunUnreported_)
    return;
  overrunUnreported_ = false;
  out.push_back(makeOverrun(causeSocket, unknownCpu, nowNs, false, 0));
}
