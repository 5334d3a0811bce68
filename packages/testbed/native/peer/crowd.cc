// peer crowd: many connections of one process that are open at once. It makes them one after another, says what became
// of them, and then, when it is asked, whether each still carries data both ways.
#include "commands.h"
#include "dialling.h"
#include "json.h"
#include "judging.h"
#include "open_files.h"
#include "options.h"
#include "report.h"
#include <cerrno>
#include <cstring>
#include <iostream>
#include <map>
#include <poll.h>

namespace {
const char BYTE = '\n';

// The name of what broke the connection; empty if the byte came back.
std::string echo(int fd) {
  if (!send_all(fd, {&BYTE, 1}))
    return strerrorname_np(errno);
  char answer = 0;
  if (!wait_for(fd, POLLIN, now_ms() + PATIENCE_MS))
    return "ETIMEDOUT";
  const ssize_t count = recv(fd, &answer, 1, 0);
  if (count == 1)
    return "";
  return count == 0 ? "EOF" : strerrorname_np(errno);
}

std::string echo_all(std::vector<Descriptor> &open) {
  std::map<std::string, long> broken;
  long alive = 0;
  for (Descriptor &fd : open) {
    if (!fd.valid())
      continue;
    const std::string why = echo(fd.get());
    if (why.empty()) {
      alive++;
      continue;
    }
    broken[why]++;
    fd.reset();
  }
  JsonLine reasons;
  for (const auto &[why, count] : broken)
    reasons.number(why, count);
  return JsonLine().number("alive", alive).raw("broken", reasons.str()).str();
}
} // namespace

int run_crowd(int argc, char **argv) {
  const Options options(argc, argv, {});
  allow_many_open_files();
  options.need("to");
  std::vector<DialRequest> targets;
  for (const std::string &to : options.all("to")) {
    targets.emplace_back();
    targets.back().to = to;
    targets.back().address = parse_address(to);
  }
  Tally tally;
  std::vector<Descriptor> open;
  for (long i = 0; i < options.number("count", 1); i++) {
    const DialRequest &target = targets[static_cast<size_t>(i) % targets.size()];
    open.emplace_back();
    tally.count(target, dial_and_keep(target, open.back()));
  }
  report(tally.summary());
  for (std::string line; std::getline(std::cin, line);)
    if (line == "echo")
      report(echo_all(open));
  // Their ports are free at once.
  for (Descriptor &fd : open)
    close_abruptly(std::move(fd));
  return 0;
}
