// peer stream: one long connection. It sends data and gets it back all the time, and reports when it breaks.
#include "commands.h"
#include "connecting.h"
#include "json.h"
#include "lines.h"
#include "options.h"
#include "report.h"
#include <cerrno>
#include <cstring>
#include <poll.h>
#include <unistd.h>

namespace {
constexpr size_t ROUND_BYTES = 1024;

// "17 ......": a number, and enough dots to fill the round.
std::string round_of(long number) {
  std::string line = std::to_string(number) + " ";
  line.append(ROUND_BYTES - line.size() - 1, '.');
  return line + "\n";
}

class Stream {
public:
  Stream(Descriptor fd, long long interval_ms)
      : fd_(std::move(fd)), interval_ms_(interval_ms), echoes_(fd_.get()), orders_(0) {}

  // The name of what broke it; empty if it was asked to stop.
  std::string run() {
    long long next_send = 0, answer_by = now_ms() + PATIENCE_MS;
    for (;;) {
      if (next_send != 0 && now_ms() >= next_send) {
        if (!send_all(fd_.get(), round_of(rounds_ + 1)))
          return strerrorname_np(errno);
        next_send = 0;
        answer_by = now_ms() + PATIENCE_MS;
      }
      const long long left = (next_send != 0 ? next_send : answer_by) - now_ms();
      pollfd items[] = {{fd_.get(), POLLIN, 0}, {0, POLLIN, 0}};
      const int count = poll(items, 2, left > 0 ? static_cast<int>(left) : 0);
      if (count == 0 && next_send == 0)
        return "ETIMEDOUT";
      if (items[0].revents != 0) {
        if (echoes_.fill() != 0)
          return errno == 0 ? "EOF" : strerrorname_np(errno);
        if (take_echoes())
          next_send = now_ms() + interval_ms_;
        if (wrong_)
          return "EBADMSG";
      }
      if (items[1].revents != 0 && !take_orders())
        return "";
    }
  }

  std::string summary(const std::string &broken) const {
    return JsonLine()
        .text("event", "end")
        .text("broken", broken)
        .number("rounds", rounds_)
        .number("bytes", rounds_ * static_cast<long long>(ROUND_BYTES))
        .raw("hops", "[" + hops_ + "]")
        .str();
  }

private:
  // True if it is our turn again.
  bool take_echoes() {
    bool turn = false;
    for (std::string line; echoes_.next(line);) {
      if (!echoing_) { // the acceptors say who they are; after that the last one echoes
        hops_ += (hops_.empty() ? "" : ",") + line;
        echoing_ = turn = line.find("\"echo\":true") != std::string::npos;
        if (echoing_)
          report(JsonLine().text("event", "begin").raw("hops", "[" + hops_ + "]").str());
        continue;
      }
      wrong_ = line + "\n" != round_of(rounds_ + 1);
      if (wrong_)
        return false;
      rounds_++;
      turn = true;
      if (waited_for_ != 0 && rounds_ >= waited_for_) {
        waited_for_ = 0;
        report(JsonLine().text("event", "rounds").number("rounds", rounds_).str());
      }
    }
    return turn;
  }

  // "wait N": report when N more rounds are over. False for "stop", and at the end of the input.
  bool take_orders() {
    if (orders_.fill() != 0)
      return false;
    for (std::string line; orders_.next(line);) {
      if (line == "stop")
        return false;
      if (line.compare(0, 5, "wait ") == 0)
        waited_for_ = rounds_ + std::stol(line.substr(5));
    }
    return true;
  }

  Descriptor fd_;
  long long interval_ms_;
  Lines echoes_, orders_;
  std::string hops_;
  bool echoing_ = false, wrong_ = false;
  long rounds_ = 0, waited_for_ = 0;
};
} // namespace

int run_stream(int argc, char **argv) {
  const Options options(argc, argv, {});
  const Address to = parse_address(options.need("to"));
  Descriptor fd = socket_for(Method::plain, to.family());
  if (fd.get() < 0)
    fail("socket");
  const int error = connect_by(Method::plain, fd.get(), to, now_ms() + PATIENCE_MS);
  if (error != 0)
    throw std::runtime_error("connect " + to_text(to) + ": " + strerrorname_np(error));
  Stream stream(std::move(fd), options.number("interval", 20));
  const std::string broken = stream.run();
  report(stream.summary(broken));
  return 0;
}
