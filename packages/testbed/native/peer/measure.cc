// peer measure: what a connect and a round trip take, by the clock of the process that makes them. One request per
// line: "connect IP:PORT COUNT" makes connections one after another and times each connect(); "trip IP:PORT COUNT"
// sends a byte over one connection and waits until it comes back. The server answers with a line and echoes.
#include "commands.h"
#include "connecting.h"
#include "json.h"
#include "options.h"
#include "report.h"
#include <cerrno>
#include <ctime>
#include <iostream>
#include <netinet/tcp.h>
#include <poll.h>
#include <sstream>
#include <stdexcept>
#include <vector>

namespace {
long long now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

Descriptor connected(const Address &to, long long &took_ns) {
  Descriptor fd = socket_for(Method::plain, to.family());
  const int on = 1;
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const long long before = now_ns();
  if (connect(fd.get(), to.raw(), to.length) != 0)
    fail("connect " + to_text(to));
  took_ns = now_ns() - before;
  return fd;
}

// Waits for the server's line, so that it never has more than one connection to accept.
void read_line(int fd) {
  char buffer[4096];
  for (;;) {
    const ssize_t count = recv(fd, buffer, sizeof buffer, 0);
    if (count <= 0)
      throw std::runtime_error("the server ended the connection");
    if (buffer[count - 1] == '\n')
      return;
  }
}

std::string as_json(const std::vector<long long> &samples, long long total_ns) {
  std::string list = "[";
  for (const long long sample : samples)
    list += (list.size() > 1 ? "," : "") + std::to_string(sample);
  return JsonLine().number("totalNs", total_ns).raw("ns", list + "]").str();
}

std::string time_connects(const Address &to, long count) {
  std::vector<long long> samples(static_cast<size_t>(count));
  const long long start = now_ns();
  for (long long &sample : samples) {
    Descriptor fd = connected(to, sample);
    read_line(fd.get());
    close_abruptly(std::move(fd)); // leaves no TIME_WAIT
  }
  return as_json(samples, now_ns() - start);
}

std::string time_trips(const Address &to, long count) {
  std::vector<long long> samples(static_cast<size_t>(count));
  long long ignored = 0;
  Descriptor fd = connected(to, ignored);
  read_line(fd.get());
  const long long start = now_ns();
  for (long long &sample : samples) {
    char byte = '.';
    const long long before = now_ns();
    if (send(fd.get(), &byte, 1, MSG_NOSIGNAL) != 1 || recv(fd.get(), &byte, 1, 0) != 1)
      fail("a byte there and back");
    sample = now_ns() - before;
  }
  const long long total = now_ns() - start;
  close_abruptly(std::move(fd));
  return as_json(samples, total);
}
} // namespace

int run_measure(int argc, char **argv) {
  const Options options(argc, argv, {});
  report("ready");
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream in(line);
    std::string what, to;
    long count = 0;
    in >> what >> to >> count;
    report(what == "trip" ? time_trips(parse_address(to), count) : time_connects(parse_address(to), count));
  }
  return 0;
}
