// The fuzz target of the parsers of rules, routes, qdiscs and filters. The first byte chooses the parser, the next four
// are the expected sequence number, the rest is one datagram.
#include <cstdlib>
#include <cstring>

#include "../native/route_dump.h"
#include "../native/rule_dump.h"
#include "../native/tc_dump.h"

namespace {

void check(bool holds) {
  if (!holds)
    abort();
}

template <typename Fact>
std::vector<Fact> parse(const uint8_t *data, size_t size, uint32_t sequence,
                        bool (*read)(const NetlinkItem &, std::vector<Fact> &)) {
  std::vector<Fact> found;
  const Answer answer =
      readAnswer(data, size, sequence, [&](const NetlinkItem &message) { return read(message, found); });
  // What callers rely on, whatever the bytes are.
  check(answer.state == AnswerState::Failed ? answer.error > 0 : answer.error == 0 && answer.text.empty());
  check(found.size() <= size / 16); // each fact was a message of its own, with a header
  return found;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *input, size_t length) {
  uint32_t sequence = 0;
  if (length < 1 + sizeof(sequence))
    return 0;
  std::memcpy(&sequence, input + 1, sizeof(sequence));
  // A copy of exactly this size, so that a read past its end is noticed.
  const std::vector<uint8_t> datagram(input + 1 + sizeof(sequence), input + length);
  const uint8_t *data = datagram.data();
  const size_t size = datagram.size();

  switch (input[0]) {
  case 'r':
    for (const PolicyRule &rule : parse<PolicyRule>(data, size, sequence, readRule))
      check((rule.family == 4 || rule.family == 6) && rule.others.size() <= size);
    break;
  case 'o':
    for (const Route &route : parse<Route>(data, size, sequence, readRoute))
      check((route.family == 4 && route.prefixLength <= 32) || (route.family == 6 && route.prefixLength <= 128));
    break;
  case 'q':
    for (const Qdisc &qdisc : parse<Qdisc>(data, size, sequence, readQdisc))
      check(qdisc.kind.size() <= size && qdisc.kind.find('\0') == std::string::npos);
    break;
  case 'f':
    for (const TcFilter &filter : parse<TcFilter>(data, size, sequence, readTcFilter)) {
      check(filter.programTag.empty() || filter.programTag.size() == 16);
      check(filter.kind == "bpf" || (filter.programName.empty() && filter.programId == 0));
    }
    break;
  }
  return 0;
}
