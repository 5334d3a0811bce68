// Socket calls that several subcommands share; see sockets.h.
#include "sockets.h"
#include <cerrno>
#include <cstring>
#include <ctime>
#include <poll.h>
#include <stdexcept>

void fail(const std::string &what) {
  throw std::runtime_error(what + ": " + strerror(errno));
}

long long now_ms() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

bool wait_for(int fd, short events, long long deadline_ms) {
  for (;;) {
    const long long left = deadline_ms - now_ms();
    pollfd item{fd, events, 0};
    const int count = poll(&item, 1, left > 0 ? static_cast<int>(left) : 0);
    if (count > 0)
      return true;
    if (count == 0 && left <= 0)
      return false;
    if (count < 0 && errno != EINTR)
      return false;
  }
}

bool send_all(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t sent = send(fd, data.data(), data.size(), MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EINTR)
        continue;
      return false;
    }
    data.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

void set_reset_on_close(int fd) {
  const linger reset{1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
}

void close_abruptly(Descriptor fd) {
  set_reset_on_close(fd.get());
}
