// Nothing in /proc distinguishes a listener from other sockets: /proc/<pid>/net/tcp covers only one network namespace,
// and ztunnel has sockets in many. So every socket is duplicated while it is asked, and only those that were asked for
// are kept.
#include "listening_sockets.h"

#include <cctype>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arguments.h"
#include "native/descriptor.h"
#include "seqpacket.h"

// The numbers of system calls after 424 are the same on every architecture.
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
// include/uapi/asm-generic/socket.h, since 5.14.
#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

namespace {

// How a link in /proc/<pid>/fd begins if it is a socket (proc_pid_fd(5)): "socket:[4711]".
constexpr char socketLink[] = "socket:[";
constexpr size_t socketLinkLength = sizeof(socketLink) - 1;

struct Found {
  Descriptor owned;
  uint16_t port;
  int family;
  uint64_t netnsCookie;
  uint64_t socketCookie;
};

template <typename Value> bool option(const Descriptor &socket, int name, Value &value) {
  socklen_t length = sizeof(value);
  return getsockopt(socket.get(), SOL_SOCKET, name, &value, &length) == 0;
}

std::optional<uint16_t> localPort(const Descriptor &socket, int &family) {
  sockaddr_storage address = {};
  socklen_t length = sizeof(address);
  if (getsockname(socket.get(), reinterpret_cast<sockaddr *>(&address), &length) < 0)
    return std::nullopt;
  if (address.ss_family == AF_INET) {
    family = 4;
    return ntohs(reinterpret_cast<const sockaddr_in &>(address).sin_port);
  }
  if (address.ss_family == AF_INET6) {
    family = 6;
    return ntohs(reinterpret_cast<const sockaddr_in6 &>(address).sin6_port);
  }
  return std::nullopt;
}

class Process {
public:
  Process(int pid, int pidfd, std::string procPath) : name_("pid " + std::to_string(pid)) {
    if (pidfd < 0) {
      opened_ = Descriptor(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
      if (!opened_.valid())
        fail("pidfd_open", name_);
    }
    pidfd_ = pidfd < 0 ? opened_.get() : pidfd;
    directory_ = procPath + "/" + std::to_string(pid) + "/fd";
  }

  // Numbers of the descriptors that are sockets. Only a hint: the table changes while it is read.
  std::vector<int> sockets() const {
    const std::unique_ptr<DIR, int (*)(DIR *)> directory(opendir(directory_.c_str()), closedir);
    if (!directory)
      failUnlessEnded("opendir", directory_);
    std::vector<int> numbers;
    for (;;) {
      errno = 0;
      const dirent *entry = readdir(directory.get());
      if (entry == nullptr && errno != 0)
        failUnlessEnded("readdir", directory_);
      if (entry == nullptr)
        return numbers;
      if (!std::isdigit(static_cast<unsigned char>(entry->d_name[0])))
        continue;
      char target[socketLinkLength];
      const ssize_t length = readlinkat(dirfd(directory.get()), entry->d_name, target, sizeof(target));
      if (length < 0 && errno != ENOENT)
        failUnlessEnded("readlink", directory_ + "/" + entry->d_name);
      if (length == static_cast<ssize_t>(socketLinkLength) && std::memcmp(target, socketLink, socketLinkLength) == 0)
        numbers.push_back(std::atoi(entry->d_name));
    }
  }

  // Invalid if it was closed meanwhile.
  Descriptor duplicate(int number) const {
    // The kernel sets close-on-exec (pidfd_getfd(2)).
    Descriptor copy(static_cast<int>(syscall(SYS_pidfd_getfd, pidfd_, number, 0)));
    if (!copy.valid() && errno != EBADF)
      fail("pidfd_getfd", name_ + ", fd " + std::to_string(number));
    return copy;
  }

  // The numbers came from /proc by pid: if the process had ended, they could be another's by now.
  void requireAlive() const {
    pollfd ended = {pidfd_, POLLIN, 0};
    if (poll(&ended, 1, 0) < 0)
      fail("poll", name_);
    if (ended.revents != 0)
      throw Failure{"pidfd_open", ended.revents & POLLNVAL ? EBADF : ESRCH, name_};
  }

private:
  // Reading below /proc/<pid> of a process that has ended fails in several ways, EACCES among them.
  [[noreturn]] void failUnlessEnded(const char *syscall, const std::string &object) const {
    const int error = errno;
    requireAlive();
    throw Failure{syscall, error, object};
  }

  std::string name_;
  std::string directory_;
  Descriptor opened_;
  int pidfd_ = -1;
};

std::optional<Found> asListener(Descriptor socket, const std::unordered_set<uint16_t> &ports) {
  int listening = 0, protocol = 0, family = 0;
  // AF_UNIX has SO_ACCEPTCONN, too; its protocol is 0.
  if (!option(socket, SO_ACCEPTCONN, listening) || listening == 0 || !option(socket, SO_PROTOCOL, protocol) ||
      protocol != IPPROTO_TCP)
    return std::nullopt;
  const std::optional<uint16_t> port = localPort(socket, family);
  if (!port || (!ports.empty() && ports.count(*port) == 0))
    return std::nullopt;
  uint64_t netnsCookie = 0, socketCookie = 0;
  if (!option(socket, SO_NETNS_COOKIE, netnsCookie))
    fail("getsockopt", "SO_NETNS_COOKIE");
  if (!option(socket, SO_COOKIE, socketCookie))
    fail("getsockopt", "SO_COOKIE");
  return Found{std::move(socket), *port, family, netnsCookie, socketCookie};
}

std::unordered_set<uint16_t> portsArgument(const Napi::CallbackInfo &info, size_t index) {
  if (!info[index].IsArray())
    throw Napi::TypeError::New(info.Env(), "ports must be an array");
  const Napi::Array list = info[index].As<Napi::Array>();
  std::unordered_set<uint16_t> ports;
  for (uint32_t at = 0; at < list.Length(); at++) {
    const Napi::Value value = list[at];
    const double port = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
    if (!(port >= 1 && port <= UINT16_MAX) || port != static_cast<uint16_t>(port))
      throw Napi::RangeError::New(info.Env(), "a port must be an integer from 1 to 65535");
    ports.insert(static_cast<uint16_t>(port));
  }
  return ports;
}

Napi::Object toObject(Napi::Env env, Found &found) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("owned", OwnedFd::wrap(env, std::move(found.owned)));
  object.Set("port", Napi::Number::New(env, found.port));
  object.Set("family", Napi::Number::New(env, found.family));
  object.Set("netnsCookie", Napi::BigInt::New(env, found.netnsCookie));
  object.Set("socketCookie", Napi::BigInt::New(env, found.socketCookie));
  return object;
}

} // namespace

Napi::Value listeningSockets(const Napi::CallbackInfo &info) {
  const int pid = static_cast<int>(integerArgument(info, 0, "pid", 1, INT_MAX));
  const int pidfd = static_cast<int>(integerArgument(info, 1, "pidfd", -1, INT_MAX));
  const std::string procPath = textArgument(info, 2, "procPath");
  const std::unordered_set<uint16_t> ports = portsArgument(info, 3);

  const Process process(pid, pidfd, procPath);
  std::vector<Found> found;
  // One open file behind two descriptors, or behind a duplicate made by fork(), is one listener.
  std::unordered_set<uint64_t> seen;
  for (const int number : process.sockets()) {
    Descriptor copy = process.duplicate(number);
    std::optional<Found> listener = copy.valid() ? asListener(std::move(copy), ports) : std::nullopt;
    if (listener && seen.insert(listener->socketCookie).second)
      found.push_back(std::move(*listener));
  }
  process.requireAlive();

  Napi::Array result = Napi::Array::New(info.Env());
  uint32_t count = 0;
  for (Found &one : found)
    result.Set(count++, toObject(info.Env(), one));
  return result;
}

void checkPidfdGetfd(const Napi::CallbackInfo &) {
  const Descriptor self(static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0)));
  if (!self.valid())
    fail("pidfd_open", "this process");
  const Descriptor copy(static_cast<int>(syscall(SYS_pidfd_getfd, self.get(), self.get(), 0)));
  if (!copy.valid())
    fail("pidfd_getfd", "this process");
}
