// peer ztunnel: a stand-in for ztunnel. Its listeners have ztunnel's options; it tells each client which original
// destination it read, and then relays in plain text, so that the client also hears the application.
#include "commands.h"
#include "json.h"
#include "options.h"
#include "original_destination.h"
#include "sockets.h"
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <mutex>
#include <poll.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {
constexpr int ZTUNNEL_MARK = 1337; // PACKET_MARK's default in ztunnel's config.rs
constexpr int BACKLOG = 128;       // as ztunnel's listeners (src/inpod/config.rs)
constexpr int DIAL_TIMEOUT_MS = 5000;
constexpr uint16_t HBONE_PORT = 15008;

struct Settings {
  std::string name;
  std::vector<uint16_t> ports; // ztunnel's config.rs calls its own ports illegal: never a destination
  bool relay = true;
  bool log = false;
};

std::mutex log_lock;

void log_line(const std::string &line) {
  const std::lock_guard<std::mutex> guard(log_lock);
  puts(line.c_str());
  fflush(stdout);
}

Fd listen_on(uint16_t port) {
  Fd fd(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (fd.get() < 0)
    fail("socket");
  const int on = 1, off = 0;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  setsockopt(fd.get(), SOL_SOCKET, SO_MARK, &ZTUNNEL_MARK, sizeof ZTUNNEL_MARK);
  const Address address = parse_ip("::", port);
  if (bind(fd.get(), address.raw(), address.length) != 0)
    fail("bind " + to_text(address));
  if (listen(fd.get(), BACKLOG) != 0)
    fail("listen " + to_text(address));
  setsockopt(fd.get(), SOL_IP, IP_TRANSPARENT, &on, sizeof on);
  return fd;
}

Fd blocking(Fd fd) {
  fcntl(fd.get(), F_SETFL, fcntl(fd.get(), F_GETFL) & ~O_NONBLOCK);
  return fd;
}

// The descriptor, or one below 0 with errno set.
Fd dial(const Address &to) {
  Fd fd(socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd.get() < 0)
    return fd;
  setsockopt(fd.get(), SOL_SOCKET, SO_MARK, &ZTUNNEL_MARK, sizeof ZTUNNEL_MARK);
  if (connect(fd.get(), to.raw(), to.length) == 0)
    return blocking(std::move(fd));
  int error = errno;
  if (error == EINPROGRESS) {
    error = ETIMEDOUT;
    if (wait_for(fd.get(), POLLOUT, now_ms() + DIAL_TIMEOUT_MS)) {
      socklen_t length = sizeof error;
      getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &length);
    }
  }
  if (error == 0)
    return blocking(std::move(fd));
  fd = Fd();
  errno = error;
  return fd;
}

// One direction, one turn; false when the source has ended, which is passed on.
bool pump(int from, int to) {
  char buffer[16384];
  const ssize_t count = recv(from, buffer, sizeof buffer, MSG_DONTWAIT);
  if (count < 0)
    return errno == EAGAIN || errno == EINTR;
  if (count > 0 && send_all(to, {buffer, static_cast<size_t>(count)}))
    return true;
  shutdown(to, SHUT_WR);
  return false;
}

void relay(int client, int server) {
  bool up = true, down = true;
  while (up || down) {
    pollfd items[] = {{up ? client : -1, POLLIN, 0}, {down ? server : -1, POLLIN, 0}};
    if (poll(items, 2, -1) < 0 && errno != EINTR)
      return;
    if (items[0].revents != 0)
      up = pump(client, server);
    if (items[1].revents != 0)
      down = pump(server, client);
  }
}

// Reads until the client closes: closing first, with bytes unread, would throw our last line away.
void finish(int client) {
  shutdown(client, SHUT_WR);
  char scratch[4096];
  while (wait_for(client, POLLIN, now_ms() + DIAL_TIMEOUT_MS) && recv(client, scratch, sizeof scratch, 0) > 0)
    ;
}

std::string refusal(const std::string &why, const std::string &detail) {
  return JsonLine().text("error", why).text("detail", detail).str() + "\n";
}

void attend(Fd client, uint16_t port, const Settings &settings) {
  // ztunnel never asks on its HBONE port: the peer dialled that port itself (src/proxy/inbound.rs).
  const OriginalDestination wanted = port == HBONE_PORT
                                         ? OriginalDestination{unmapped(local_address(client.get())), "local"}
                                         : original_destination(client.get());
  const std::string line = JsonLine()
                               .text("by", settings.name)
                               .number("port", port)
                               .text("peer", to_text(unmapped(peer_address(client.get()))))
                               .text("local", to_text(unmapped(local_address(client.get()))))
                               .text("originalDst", to_text(wanted.address))
                               .text("originalDstFrom", wanted.from)
                               .str();
  if (settings.log)
    log_line(line);
  send_all(client.get(), line + "\n");
  if (!settings.relay || port == HBONE_PORT)
    return finish(client.get());
  const auto &illegal = settings.ports;
  if (std::find(illegal.begin(), illegal.end(), wanted.address.port()) != illegal.end()) {
    send_all(client.get(), refusal("self-call", to_text(wanted.address)));
    return finish(client.get());
  }
  const Fd server = dial(wanted.address);
  if (server.get() < 0) {
    send_all(client.get(), refusal("dial", strerror(errno)));
    return finish(client.get());
  }
  relay(client.get(), server.get());
}

void accept_all(const Fd &listener, uint16_t port, const Settings &settings) {
  for (;;) {
    const int client = accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) {
      if (errno == EMFILE || errno == ENFILE)
        usleep(1000); // wait for a connection to end rather than spin
      continue;
    }
    std::thread([client, port, &settings] { attend(Fd(client), port, settings); }).detach();
  }
}
} // namespace

int run_ztunnel(int argc, char **argv) {
  const Options options(argc, argv, {"answer", "relay", "log"});
  static const Settings settings{options.get("name", "ztunnel"), parse_ports(options.get("ports", "15001,15006,15008")),
                                 !options.has("answer"), options.has("log")};
  for (const uint16_t port : settings.ports) {
    std::thread([port, listener = listen_on(port)] { accept_all(listener, port, settings); }).detach();
  }
  log_line("ready");
  for (;;)
    pause();
}
