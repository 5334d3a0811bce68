// sluice-ready SOCKET [PATH]: asks the agent at its Unix socket whether it is ready (PATH: /readyz), prints what it
// says, and exits with 0 if it is. A kubelet that probes every few seconds would pay for a whole Node with each probe
// of the command.
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

namespace {

constexpr int exitReady = 0;
constexpr int exitNotReady = 1;
constexpr int exitUsage = 2;
// Less than the probe's own timeout, so that the kubelet hears why.
constexpr timeval patience = {4, 0};

int fails(const char *what, const char *path) {
  std::fprintf(stderr, "sluice-ready: %s %s: %s\n", what, path, std::strerror(errno));
  return exitNotReady;
}

// The answer as a whole, cut to what fits: the reasons for not being ready are short.
size_t readAll(int fd, char *buffer, size_t size) {
  size_t length = 0;
  while (length < size) {
    const ssize_t got = ::read(fd, buffer + length, size - length);
    if (got <= 0)
      break;
    length += static_cast<size_t>(got);
  }
  return length;
}

} // namespace

int main(int argc, char **argv) {
  if (argc < 2 || argc > 3) {
    std::fprintf(stderr, "usage: sluice-ready SOCKET [PATH]\n");
    return exitUsage;
  }
  const char *path = argv[1];
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (std::strlen(path) >= sizeof(address.sun_path)) {
    errno = ENAMETOOLONG;
    return fails("connect to", path);
  }
  std::strcpy(address.sun_path, path);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return fails("socket for", path);
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  if (::connect(fd, reinterpret_cast<const sockaddr *>(&address), sizeof(address)) < 0)
    return fails("connect to", path);
  char text[8192];
  const int asked = std::snprintf(text, sizeof(text), "GET %s HTTP/1.0\r\n\r\n", argc == 3 ? argv[2] : "/readyz");
  if (asked < 0 || static_cast<size_t>(asked) >= sizeof(text) ||
      ::send(fd, text, static_cast<size_t>(asked), MSG_NOSIGNAL) != asked)
    return fails("ask at", path);
  const size_t length = readAll(fd, text, sizeof(text) - 1);
  text[length] = '\0';
  int status = 0;
  if (std::sscanf(text, "HTTP/1.%*d %d", &status) != 1) {
    std::fprintf(stderr, "sluice-ready: %s does not answer\n", path);
    return exitNotReady;
  }
  const char *body = std::strstr(text, "\r\n\r\n");
  std::fputs(body == nullptr ? "" : body + 4, stdout);
  return status == 200 ? exitReady : exitNotReady;
}
