// Does what ztunnel does to an inbound connection: accepts it on [::]:<port> and dials <address>:<port> from the
// client's own address, with the mark that Sluice gives to ztunnel's dials. The application's answer goes back to the
// client, or a line of JSON that says why there is none.
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "native/descriptor.h"

namespace {

constexpr int ztunnelMark = 0x539;
// What Sluice makes of it when ztunnel dials the application.
constexpr int dialMark = 0x111;
// The handshake needs no process to be scheduled, so that even a busy machine makes it at once or never.
constexpr timeval dialTime = {2, 0};

void require(bool done, const char *what) {
  if (done)
    return;
  std::perror(what);
  std::exit(1);
}

void enable(const Descriptor &socket, int level, int option) {
  const int on = 1;
  require(setsockopt(socket.get(), level, option, &on, sizeof(on)) == 0, "setsockopt");
}

// Speaks IPv4 through an IPv6 socket, as ztunnel's listeners do: ::ffff:a.b.c.d.
Descriptor transparentSocket(int mark) {
  Descriptor socket(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  require(socket.valid(), "socket");
  const int off = 0;
  require(setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) == 0, "IPV6_V6ONLY");
  require(setsockopt(socket.get(), SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) == 0, "SO_MARK");
  enable(socket, SOL_IP, IP_TRANSPARENT);
  enable(socket, SOL_IPV6, IPV6_TRANSPARENT);
  return socket;
}

std::string refusal(const char *why) {
  return std::string("{\"by\":\"relay\",\"error\":\"") + why + "\"}\n";
}

// The application's answer, or why there is none.
std::string relay(const sockaddr_in6 &client, const sockaddr_in6 &application, int mark) {
  const Descriptor upstream = transparentSocket(mark);
  setsockopt(upstream.get(), SOL_SOCKET, SO_SNDTIMEO, &dialTime, sizeof(dialTime)); // bounds connect() too
  sockaddr_in6 source = client;
  source.sin6_port = 0;
  if (bind(upstream.get(), reinterpret_cast<const sockaddr *>(&source), sizeof(source)) < 0)
    return refusal(std::strerror(errno));
  if (connect(upstream.get(), reinterpret_cast<const sockaddr *>(&application), sizeof(application)) < 0)
    return refusal(errno == EINPROGRESS ? "no answer" : std::strerror(errno)); // EINPROGRESS: the time is up
  std::string answer;
  char part[1024];
  for (ssize_t size; (size = recv(upstream.get(), part, sizeof(part), 0)) > 0;)
    answer.append(part, static_cast<size_t>(size));
  return answer;
}

} // namespace

int main(int argc, char **argv) {
  if (argc != 4 && argc != 5) {
    std::fprintf(stderr, "usage: %s <port> <application's IPv6 or v4-mapped address> <its port> [mark]\n", argv[0]);
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  const int mark = argc == 5 ? static_cast<int>(std::strtol(argv[4], nullptr, 0)) : dialMark;
  sockaddr_in6 here = {};
  here.sin6_family = AF_INET6;
  here.sin6_port = htons(static_cast<uint16_t>(std::atoi(argv[1])));
  sockaddr_in6 application = {};
  application.sin6_family = AF_INET6;
  application.sin6_port = htons(static_cast<uint16_t>(std::atoi(argv[3])));
  require(inet_pton(AF_INET6, argv[2], &application.sin6_addr) == 1, "inet_pton");

  const Descriptor listener = transparentSocket(ztunnelMark);
  enable(listener, SOL_SOCKET, SO_REUSEADDR);
  require(bind(listener.get(), reinterpret_cast<const sockaddr *>(&here), sizeof(here)) == 0, "bind");
  require(listen(listener.get(), 16) == 0, "listen");
  std::puts("ready");
  std::fflush(stdout);
  for (;;) {
    sockaddr_in6 client = {};
    socklen_t length = sizeof(client);
    const Descriptor connection(accept(listener.get(), reinterpret_cast<sockaddr *>(&client), &length));
    if (!connection.valid())
      continue;
    const std::string answer = relay(client, application, mark);
    send(connection.get(), answer.data(), answer.size(), 0);
    shutdown(connection.get(), SHUT_WR);
    char scratch[256];
    while (recv(connection.get(), scratch, sizeof(scratch), 0) > 0) {
    }
  }
}
