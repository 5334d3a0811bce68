// peer at-once: an application that dials with its first instruction, again and again, and says of each attempt what
// became of it.
#include "commands.h"
#include "dialling.h"
#include "json.h"
#include "judging.h"
#include "options.h"
#include "report.h"
#include <cstring>
#include <ctime>
#include <unistd.h>

namespace {
long long now_us() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}
} // namespace

int run_at_once(int argc, char **argv) {
  const long long born = now_us();
  const Options options(argc, argv, {});
  options.need("to");
  std::vector<DialRequest> targets;
  for (const std::string &to : options.all("to")) {
    DialRequest request;
    request.to = to;
    request.address = parse_address(to);
    request.timeout_ms = options.number("timeout", PATIENCE_MS);
    request.reset = true;
    targets.push_back(request);
  }
  const long pause_ms = options.number("pause", 1), successes = options.number("successes", 0);
  long succeeded = 0;
  for (size_t i = 0; successes == 0 || succeeded < successes; i++) {
    if (i > 0)
      usleep(static_cast<useconds_t>(pause_ms * 1000));
    const DialRequest &request = targets[i % targets.size()];
    const long long began = now_us();
    const DialOutcome outcome = dial(request);
    const bool ok = outcome.error == 0 && !outcome.hops.empty();
    succeeded += ok ? 1 : 0;
    report(JsonLine()
               .text("to", request.to)
               .number("bornUs", born)
               .number("beganUs", began - born)
               .number("endedUs", now_us() - born)
               .boolean("ok", ok)
               .text("error", outcome.error == 0 ? "" : strerrorname_np(outcome.error))
               .text("readError", outcome.read_error == 0 ? "" : strerrorname_np(outcome.read_error))
               .raw("hops", json_array(outcome.hops))
               .str());
  }
  return 0;
}
