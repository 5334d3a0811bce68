// libFuzzer target of the parser. One input is a whole conversation, so that the sequence numbers are exercised too:
// { u8 flags, u16 length (host order), length bytes }*, flags: 1 = not from the kernel, 2 = MSG_TRUNC, 4 = ENOBUFS
// first, 8 = queue empty after it.
#include "../native/parse.h"
#include <cstdlib>
#include <cstring>

namespace {

void require(bool holds) {
  if (!holds)
    std::abort();
}

bool isKnown(uint32_t kind) {
  for (uint32_t known : {kindAck, kindFork, kindExec, kindUid, kindGid, kindSid, kindPtrace, kindComm, kindCoredump,
                         kindExit, kindOverrun}) {
    if (kind == known)
      return true;
  }
  return false;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Parser parser;
  std::vector<Record> records;
  uint64_t events = 0, lost = 0;
  while (size >= 3) {
    const uint8_t flags = data[0];
    uint16_t length;
    std::memcpy(&length, data + 1, sizeof length);
    data += 3;
    size -= 3;
    const size_t take = length < size ? length : size;
    // Each gets its own copy, so that the sanitizer sees a read past the end from the first byte on.
    const std::vector<uint8_t> datagram(data, data + take);
    data += take;
    size -= take;
    records.clear();
    if ((flags & 4) != 0)
      parser.noteSocketOverrun();
    parser.feed(datagram.data(), datagram.size(), flags & 1, (flags & 2) != 0, records);
    require((flags & 3) == 0 || records.empty());
    require(records.size() <= 2 * (datagram.size() / 16 + 1));
    if ((flags & 8) != 0)
      parser.flushSocketOverrun(1, records);
    for (const Record &record : records) {
      require(isKnown(record.kind));
      require(std::memchr(record.comm, 0, sizeof record.comm) != nullptr);
      if (record.kind == kindOverrun)
        lost += record.args[2];
      else
        events++;
    }
  }
  const ParseCounters &counters = parser.counters();
  require(counters.messages == events + counters.unknownKind);
  require(counters.lost == lost);
  return 0;
}
