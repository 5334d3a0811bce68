// A process with listening sockets in several network namespaces, as ztunnel is one, among sockets of other kinds:
//   listeners <noise> <netns path>,<4|6>,<port> ...
// Prints "ready" with the SO_COOKIE of each listener, in order. A line on stdin closes the first one, and is answered.
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

void require(bool done, const char *what) {
  if (done)
    return;
  std::perror(what);
  std::exit(1);
}

int listenAt(const std::string &place) {
  const size_t first = place.find(','), second = place.rfind(',');
  const int netns = open(place.substr(0, first).c_str(), O_RDONLY | O_CLOEXEC);
  require(netns >= 0, "open");
  require(setns(netns, CLONE_NEWNET) == 0, "setns");
  close(netns);
  const bool v6 = place.substr(first + 1, second - first - 1) == "6";
  const in_port_t port = htons(static_cast<in_port_t>(std::atoi(place.c_str() + second + 1)));
  const int made = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  require(made >= 0, "socket");
  const int on = 1;
  require(setsockopt(made, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0, "SO_REUSEPORT");
  sockaddr_in6 six = {};
  six.sin6_family = AF_INET6;
  six.sin6_port = port;
  sockaddr_in four = {};
  four.sin_family = AF_INET;
  four.sin_port = port;
  const sockaddr *address = v6 ? reinterpret_cast<const sockaddr *>(&six) : reinterpret_cast<const sockaddr *>(&four);
  require(bind(made, address, v6 ? sizeof(six) : sizeof(four)) == 0, "bind");
  require(listen(made, 16) == 0, "listen");
  return made;
}

// Sockets that must not be found: datagram and bound TCP sockets, pairs, and a listener that is not TCP.
void makeNoise(int count) {
  const rlimit many = {1 << 17, 1 << 17};
  setrlimit(RLIMIT_NOFILE, &many);
  sockaddr any = {};
  any.sa_family = AF_UNIX;
  const int stream = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  require(bind(stream, &any, sizeof(sa_family_t)) == 0 && listen(stream, 1) == 0, "AF_UNIX");
  for (int made = 0; made < count; made++) {
    const int kind = made % 3;
    const int one = kind == 0   ? socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)
                    : kind == 1 ? socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0)
                                : open("/dev/null", O_RDONLY | O_CLOEXEC);
    require(one >= 0, "noise");
  }
}

} // namespace

int main(int argc, char **argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s <noise> <netns>,<4|6>,<port> ...\n", argv[0]);
    return 2;
  }
  makeNoise(std::atoi(argv[1]));
  std::vector<int> listeners;
  for (int at = 2; at < argc; at++)
    listeners.push_back(listenAt(argv[at]));
  std::printf("ready");
  for (const int listener : listeners) {
    uint64_t cookie = 0;
    socklen_t length = sizeof(cookie);
    require(getsockopt(listener, SOL_SOCKET, SO_COOKIE, &cookie, &length) == 0, "SO_COOKIE");
    std::printf(" %" PRIu64, cookie);
  }
  std::puts("");
  std::fflush(stdout);
  char line[64];
  while (std::fgets(line, sizeof(line), stdin) != nullptr) {
    if (!listeners.empty())
      close(listeners.front());
    std::puts("closed");
    std::fflush(stdout);
  }
}
