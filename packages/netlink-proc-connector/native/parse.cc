// The proc connector's wire format: nlmsghdr, cn_msg, proc_event (linux/netlink.h, linux/connector.h, linux/cn_proc.h).
// Everything is copied out by memcpy: the bytes come from a socket and promise no alignment.
#include "parse.h"
#include <cstring>
#include <linux/cn_proc.h>
#include <linux/connector.h>
#include <linux/netlink.h>

namespace sluice {
namespace {

// The largest CONFIG_NR_CPUS of any architecture; a greater number is damage, not a machine.
constexpr uint32_t kMaxCpus = 8192;
using EventData = decltype(proc_event::event_data);
constexpr size_t kEventHeader = offsetof(proc_event, event_data);

// struct cn_msg ends in a flexible array, which C++ does not allow as a value; this is its fixed part.
struct ConnectorHeader {
  uint32_t idx, val, seq, ack;
  uint16_t len, flags;
};
static_assert(sizeof(ConnectorHeader) == sizeof(cn_msg), "cn_msg without its data");

// How many bytes of event_data a kind needs, or -1 for a kind we do not know.
int EventBytes(uint32_t kind) {
  switch (kind) {
  case kAck:
    return sizeof(uint32_t);
  case kFork:
    return sizeof(EventData::fork);
  case kExec:
    return sizeof(EventData::exec);
  case kUid:
  case kGid:
    return sizeof(EventData::id);
  case kSid:
    return sizeof(EventData::sid);
  case kPtrace:
    return sizeof(EventData::ptrace);
  case kComm:
    return sizeof(EventData::comm);
  case kCoredump:
    return sizeof(EventData::coredump);
  case kExit:
    return sizeof(EventData::exit);
  default:
    return -1;
  }
}

// words is event_data as six 32-bit words; every kind is a sequence of those.
void FillFromWords(Record &record, const uint32_t words[6]) {
  if (record.kind == kAck) {
    record.args[0] = words[0];
    return;
  }
  if (record.kind == kFork) { // the parent comes first on the wire
    record.args[0] = words[0];
    record.args[1] = words[1];
    record.pid = static_cast<int32_t>(words[2]);
    record.tgid = static_cast<int32_t>(words[3]);
    return;
  }
  record.pid = static_cast<int32_t>(words[0]);
  record.tgid = static_cast<int32_t>(words[1]);
  if (record.kind == kComm) {
    std::memcpy(record.comm, words + 2, sizeof record.comm);
    record.comm[sizeof record.comm - 1] = '\0';
  } else {
    std::memcpy(record.args, words + 2, sizeof record.args);
  }
}

} // namespace

void Parser::Feed(const uint8_t *data, size_t size, uint32_t sender_port, bool truncated, std::vector<Record> &out) {
  // Root in any user namespace may send to a netlink socket; only port 0 is the kernel.
  if (sender_port != 0) {
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
      counters_.malformed++; // where the next message starts is not known any more
      return;
    }
    if (header.nlmsg_len > left) {
      counters_.truncated++;
      return;
    }
    if (header.nlmsg_type == NLMSG_DONE) {
      FeedConnectorMessage(data + at + NLMSG_HDRLEN, header.nlmsg_len - NLMSG_HDRLEN, out);
    } else if (header.nlmsg_type != NLMSG_NOOP) {
      counters_.unexpected_type++;
    }
    at += NLMSG_ALIGN(static_cast<size_t>(header.nlmsg_len));
  }
}

void Parser::FeedConnectorMessage(const uint8_t *data, size_t size, std::vector<Record> &out) {
  ConnectorHeader header;
  if (size < sizeof header) {
    counters_.truncated++;
    return;
  }
  std::memcpy(&header, data, sizeof header);
  if (header.idx != CN_IDX_PROC || header.val != CN_VAL_PROC) {
    counters_.unexpected_type++;
    return;
  }
  if (header.len > size - sizeof header) {
    counters_.truncated++;
    return;
  }
  if (header.len < kEventHeader) {
    counters_.malformed++;
    return;
  }
  const uint8_t *event = data + sizeof header;
  Record record;
  record.seq = header.seq;
  record.ack = header.ack;
  std::memcpy(&record.kind, event + offsetof(proc_event, what), sizeof record.kind);
  std::memcpy(&record.cpu, event + offsetof(proc_event, cpu), sizeof record.cpu);
  std::memcpy(&record.timestamp_ns, event + offsetof(proc_event, timestamp_ns), sizeof record.timestamp_ns);
  if (record.cpu >= kMaxCpus) {
    counters_.malformed++;
    return;
  }
  const int needed = EventBytes(record.kind);
  const size_t have = header.len - kEventHeader;
  if (needed >= 0 && have < static_cast<size_t>(needed)) {
    counters_.malformed++;
    return;
  }
  // From here on the message counts as received, also one of an unknown kind: it took a sequence number.
  TrackSequence(record, out);
  counters_.messages++;
  if (needed < 0) {
    counters_.unknown_kind++;
    return;
  }
  uint32_t words[6] = {};
  std::memcpy(words, event + kEventHeader, static_cast<size_t>(needed));
  FillFromWords(record, words);
  out.push_back(record);
}

void Parser::TrackSequence(const Record &record, std::vector<Record> &out) {
  if (record.cpu >= cpus_.size())
    cpus_.resize(record.cpu + 1);
  CpuSequence &cpu = cpus_[record.cpu];
  const uint32_t jump = record.seq - cpu.next; // modulo 2^32, as the kernel counts
  if (cpu.known && jump != 0) {
    if (jump > INT32_MAX) {
      counters_.out_of_order++;
    } else {
      counters_.gaps++;
      counters_.lost += jump;
      overrun_pending_ = false;
      out.push_back(MakeOverrun(kCauseSocket, record.cpu, record.timestamp_ns, true, jump));
    }
  }
  cpu.known = true;
  cpu.next = record.seq + 1;
}

void Parser::FlushSocketOverrun(uint64_t now_ns, std::vector<Record> &out) {
  if (!overrun_pending_)
    return;
  overrun_pending_ = false;
  out.push_back(MakeOverrun(kCauseSocket, kUnknownCpu, now_ns, false, 0));
}

} // namespace sluice
