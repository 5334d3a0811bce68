// Source-port reuse and load; see campaigns.h.
#include "campaigns.h"
#include "json.h"
#include "judging.h"
#include "lines.h"
#include "report.h"
#include <csignal>
#include <cstdio>
#include <cstring>
#include <poll.h>
#include <unistd.h>

namespace {
volatile sig_atomic_t stopped = 0;

// The requests on standard input while a load runs: "wait N".
class Orders {
public:
  // The number of attempts that is waited for, if somebody waits for it and it is above `attempts`; 0 otherwise.
  long awaited(long attempts) {
    pollfd item{0, POLLIN, 0};
    while (open_ && poll(&item, 1, 0) > 0)
      open_ = lines_.fill() == 0;
    for (std::string line; lines_.next(line);)
      if (line.compare(0, 5, "wait ") == 0)
        awaited_ = attempts + std::stol(line.substr(5));
    return awaited_;
  }
  void tell(long attempts) {
    awaited_ = 0;
    report(JsonLine().number("attempts", attempts).str());
  }

private:
  Lines lines_{0};
  bool open_ = true;
  long awaited_ = 0;
};
} // namespace

std::string run_source_ports(const std::vector<DialRequest> &targets, uint16_t low, uint16_t high, long count) {
  const long ports = high - low + 1;
  Tally tally;
  for (long i = 0; i < count; i++) {
    // The targets shift by one each round, so that a port that is used again dials another target.
    DialRequest request = targets[static_cast<size_t>(i + i / ports) % targets.size()];
    Address from = request.bind ? *request.bind : parse_ip(request.address.family() == AF_INET ? "0.0.0.0" : "::", 0);
    from.set_port(static_cast<uint16_t>(low + i % ports));
    request.bind = from;
    request.reset = true;
    tally.count(request, dial(request));
  }
  return tally.summary();
}

std::string run_load(const std::vector<DialRequest> &targets, long long duration_ms, long pause_ms) {
  signal(SIGTERM, [](int) { stopped = 1; });
  signal(SIGINT, [](int) { stopped = 1; });
  report("ready");
  Orders orders;
  const long long end = duration_ms > 0 ? now_ms() + duration_ms : INT64_MAX;
  long attempts = 0, refused = 0, direct = 0, redirected = 0, errors = 0;
  std::vector<std::string> first_errors;
  for (size_t i = 0; stopped == 0 && now_ms() < end; i++) {
    if (i > 0 && pause_ms > 0)
      usleep(static_cast<useconds_t>(pause_ms * 1000)); // a signal ends it early
    const long awaited = orders.awaited(attempts);
    DialRequest request = targets[i % targets.size()];
    request.reset = true;
    const DialOutcome outcome = dial(request);
    attempts++;
    if (outcome.error == ECONNREFUSED)
      refused++;
    else if (outcome.error != 0 || outcome.hops.empty())
      errors++;
    else if (is_redirected(outcome))
      redirected++;
    else
      direct++;
    if ((outcome.error != 0 || outcome.hops.empty()) && first_errors.size() < KEPT_CASES)
      first_errors.push_back(describe(request, outcome));
    if (awaited != 0 && attempts >= awaited)
      orders.tell(attempts);
  }
  return JsonLine()
      .number("attempts", attempts)
      .number("refused", refused)
      .number("direct", direct)
      .number("redirected", redirected)
      .number("errors", errors)
      .raw("firstErrors", json_array(first_errors))
      .str();
}
