// See answering.h.
#include "answering.h"
#include "open_files.h"
#include "report.h"
#include <cerrno>
#include <csignal>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

namespace {
void watch(const Descriptor &epoll, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  if (epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event) != 0)
    fail("epoll_ctl");
}
} // namespace

// The line goes out at once. The connection is closed after the client has closed, because close() with unread bytes
// would send RST, which discards the line.
void Answering::accept_waiting(int listener, uint16_t port) {
  for (;;) {
    Descriptor connection(accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (connection.get() < 0) {
      if (errno == EMFILE || errno == ENFILE)
        usleep(1000); // another process takes it, or a connection ends
      return;
    }
    send_all(connection.get(), describe_(connection.get(), port) + "\n");
    if (!echo_)
      shutdown(connection.get(), SHUT_WR);
    watch(epoll_, connection.release());
  }
}

// Sends back what arrives, or discards it. A client that wants an echo sends more only after it, so nothing is kept.
void Answering::take(int connection) const {
  char buffer[4096];
  for (;;) {
    const ssize_t count = read(connection, buffer, sizeof buffer);
    if (count > 0 && echo_)
      send_all(connection, {buffer, static_cast<size_t>(count)});
    if (count > 0 || (count < 0 && errno == EINTR))
      continue;
    if (count < 0 && errno == EAGAIN)
      return;
    close(connection); // leaves the epoll set by itself
    return;
  }
}

void Answering::run(long processes) {
  allow_many_open_files();
  const pid_t first = getpid();
  for (long i = 1; i < processes && getpid() == first; i++)
    if (fork() == 0)
      prctl(PR_SET_PDEATHSIG, SIGKILL);
  epoll_ = Descriptor(epoll_create1(EPOLL_CLOEXEC));
  for (const auto &[listener, port] : ports_)
    watch(epoll_, listener);
  if (getpid() == first)
    report("ready");
  for (;;) {
    epoll_event events[64];
    const int count = epoll_wait(epoll_.get(), events, 64, -1);
    for (int i = 0; i < count; i++) {
      const auto listener = ports_.find(events[i].data.fd);
      if (listener != ports_.end())
        accept_waiting(listener->first, listener->second);
      else
        take(events[i].data.fd);
    }
  }
}
