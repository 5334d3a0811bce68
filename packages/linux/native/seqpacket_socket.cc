// SO_PASSCRED is on for every connection: an empty packet then carries credentials and the end of the stream does not.
// Nothing else distinguishes the two (both make recvmsg return 0).
#include "seqpacket_socket.h"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "native/failure.h"

// include/uapi/asm-generic/socket.h, since 6.5; Debian 12's headers are older.
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

namespace {

constexpr mode_t ownerOnly = 0600;
constexpr int on = 1;

Descriptor newSocket(const std::string &object) {
  Descriptor made(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!made.valid())
    fail("socket", object);
  return made;
}

sockaddr_un addressOf(const char *syscall, const std::string &path) {
  if (path.empty() || path.size() > longestSocketPath)
    throw Failure{syscall, path.empty() ? ENOENT : ENAMETOOLONG, path};
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

// 0 or a positive errno.
int tryConnect(int fd, const sockaddr_un &address) {
  int result;
  do
    result = ::connect(fd, reinterpret_cast<const sockaddr *>(&address), sizeof(address));
  while (result < 0 && errno == EINTR);
  return result < 0 ? errno : 0;
}

bool tryBind(int fd, const sockaddr_un &address) {
  return ::bind(fd, reinterpret_cast<const sockaddr *>(&address), sizeof(address)) == 0;
}

std::string directoryOf(const std::string &path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

// Held while one process checks the path, removes and binds: two that start at once must not remove each other's file.
Descriptor lockDirectory(const std::string &path) {
  const std::string directory = directoryOf(path);
  Descriptor held(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!held.valid())
    fail("open", directory);
  if (::flock(held.get(), LOCK_EX | LOCK_NB) < 0)
    fail("flock", directory);
  return held;
}

void removeStale(const std::string &path, const sockaddr_un &address) {
  struct stat status;
  if (::lstat(path.c_str(), &status) < 0) {
    if (errno == ENOENT)
      return;
    fail("lstat", path);
  }
  if (!S_ISSOCK(status.st_mode))
    throw Failure{"bind", EADDRINUSE, path + " (a file that is not a socket)"};
  Descriptor probe = newSocket(path);
  const int error = tryConnect(probe.get(), address);
  if (error == ENOENT)
    return;
  // Success, EAGAIN (its queue is full), EPROTOTYPE (a live one of another type), EACCES: we must not remove it.
  if (error != ECONNREFUSED)
    throw Failure{"bind", EADDRINUSE, path + " (a process is listening on it)"};
  if (::unlink(path.c_str()) < 0 && errno != ENOENT)
    fail("unlink", path);
}

Descriptor newListener(const std::string &path) {
  Descriptor listener = newSocket(path);
  if (::setsockopt(listener.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
    fail("setsockopt", path);
  // The file takes its mode from the socket (less the umask), so it is never open to others, not even for a moment.
  if (::fchmod(listener.get(), ownerOnly) < 0)
    fail("fchmod", path);
  return listener;
}

SocketFile identify(const std::string &path) {
  struct stat status;
  if (::lstat(path.c_str(), &status) < 0)
    fail("lstat", path);
  return {path, status.st_dev, status.st_ino};
}

void listenOn(const Descriptor &listener, int backlog, const SocketFile &file) {
  if (::listen(listener.get(), backlog) == 0)
    return;
  const int error = errno;
  removeSocketFile(file);
  throw Failure{"listen", error, file.path};
}

} // namespace

Descriptor listenSeqpacketSocket(const std::string &path, int backlog, SocketFile &file) {
  const sockaddr_un address = addressOf("bind", path);
  Descriptor listener = newListener(path);
  const Descriptor directory = lockDirectory(path);
  if (!tryBind(listener.get(), address)) {
    if (errno != EADDRINUSE)
      fail("bind", path);
    removeStale(path, address);
    if (!tryBind(listener.get(), address))
      fail("bind", path);
  }
  file = identify(path);
  listenOn(listener, backlog, file);
  return listener;
}

Descriptor replaceSeqpacketSocket(const std::string &path, int backlog, SocketFile &file) {
  addressOf("bind", path);
  const std::string next = directoryOf(path) + "/.next";
  const sockaddr_un address = addressOf("bind", next);
  Descriptor listener = newListener(path);
  const Descriptor directory = lockDirectory(path);
  struct stat status;
  if (::lstat(path.c_str(), &status) == 0 && !S_ISSOCK(status.st_mode))
    throw Failure{"bind", EADDRINUSE, path + " (a file that is not a socket)"};
  if (::unlink(next.c_str()) < 0 && errno != ENOENT)
    fail("unlink", next);
  if (!tryBind(listener.get(), address))
    fail("bind", next);
  file = identify(next);
  listenOn(listener, backlog, file);
  if (::rename(next.c_str(), path.c_str()) < 0) {
    const int error = errno;
    removeSocketFile(file);
    throw Failure{"rename", error, path};
  }
  file.path = path;
  return listener;
}

void removeSocketFile(const SocketFile &file) {
  struct stat status;
  if (::lstat(file.path.c_str(), &status) == 0 && status.st_dev == file.device && status.st_ino == file.inode)
    ::unlink(file.path.c_str());
}

Descriptor connectSeqpacketSocket(const std::string &path) {
  const sockaddr_un address = addressOf("connect", path);
  Descriptor made = newSocket(path);
  const int error = tryConnect(made.get(), address);
  if (error != 0)
    throw Failure{"connect", error, path};
  // After connect(2): before it, the option would bind the socket to an abstract name.
  if (::setsockopt(made.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
    fail("setsockopt", path);
  return made;
}

SeqpacketPeer seqpacketPeer(int fd) {
  SeqpacketPeer peer;
  ucred credentials = {};
  socklen_t length = sizeof(credentials);
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0)
    fail("getsockopt", "SO_PEERCRED");
  peer.credentials = {credentials.pid, credentials.uid, credentials.gid};

  int pidfd = -1;
  length = sizeof(pidfd);
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &length) == 0) {
    peer.pidfd.reset(pidfd);
    peer.pidfdFromSocket = true;
  } else if (errno == ENOPROTOOPT && credentials.pid > 0) {
    peer.pidfd.reset(static_cast<int>(::syscall(SYS_pidfd_open, credentials.pid, 0)));
  }
  return peer;
}

SeqpacketOutcome acceptSeqpacket(int listener, Descriptor &connection) {
  for (;;) {
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      connection.reset(fd);
      // Some kernels do not inherit it.
      if (::setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
        return {SeqpacketResult::Failed, errno, "setsockopt"};
      return {SeqpacketResult::Done};
    }
    if (errno == EAGAIN)
      return {SeqpacketResult::Again};
    // ECONNABORTED: the peer left while it was in the queue.
    if (errno != EINTR && errno != ECONNABORTED)
      return {SeqpacketResult::Failed, errno, "accept4"};
  }
}

SeqpacketOutcome sendSeqpacket(int fd, const uint8_t *bytes, size_t size, const std::vector<int> &descriptors) {
  iovec vector = {const_cast<uint8_t *>(bytes), size};
  msghdr message = {};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  std::vector<uint8_t> control;
  if (!descriptors.empty()) {
    const size_t payload = descriptors.size() * sizeof(int);
    control.resize(CMSG_SPACE(payload));
    cmsghdr header = {};
    header.cmsg_len = CMSG_LEN(payload);
    header.cmsg_level = SOL_SOCKET;
    header.cmsg_type = SCM_RIGHTS;
    std::memcpy(control.data(), &header, sizeof(header));
    std::memcpy(control.data() + CMSG_LEN(0), descriptors.data(), payload);
    message.msg_control = control.data();
    message.msg_controllen = control.size();
  }
  for (;;) {
    if (::sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
      return {SeqpacketResult::Done};
    if (errno == EAGAIN)
      return {SeqpacketResult::Again};
    if (errno != EINTR)
      return {SeqpacketResult::Failed, errno, "sendmsg"};
  }
}

SeqpacketOutcome receiveSeqpacket(int fd, size_t maxBytes, size_t maxDescriptors, SeqpacketPacket &packet) {
  // Room for the credentials, which the kernel writes first, and for the wanted number of descriptors. If none is
  // wanted there is no room for any: the kernel then sets MSG_CTRUNC and opens none in this process.
  const size_t room = CMSG_SPACE(sizeof(ucred)) + (maxDescriptors == 0 ? 0 : CMSG_SPACE(maxDescriptors * sizeof(int)));
  std::vector<uint8_t> control(room);
  packet.bytes.resize(maxBytes);
  iovec vector = {packet.bytes.data(), packet.bytes.size()};
  msghdr message;
  ssize_t received;
  do {
    message = {};
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    received = ::recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);
  if (received < 0)
    return errno == EAGAIN ? SeqpacketOutcome{SeqpacketResult::Again}
                           : SeqpacketOutcome{SeqpacketResult::Failed, errno, "recvmsg"};

  ControlData found = parseControl(control.data(), std::min(message.msg_controllen, control.size()));
  for (int descriptor : found.descriptors)
    packet.descriptors.emplace_back(descriptor);
  packet.bytes.resize(static_cast<size_t>(received));
  packet.sender = found.credentials;
  packet.malformedControl = found.malformed;
  packet.truncated = (message.msg_flags & MSG_TRUNC) != 0;
  packet.controlTruncated = (message.msg_flags & MSG_CTRUNC) != 0;
  // Because of the padding, room for one descriptor is room for two: those over the bound are closed here.
  if (packet.descriptors.size() > maxDescriptors) {
    packet.controlTruncated = true;
    while (packet.descriptors.size() > maxDescriptors)
      packet.descriptors.pop_back();
  }
  if (received == 0 && !packet.sender && !packet.truncated && !packet.controlTruncated)
    return {SeqpacketResult::End};
  return {SeqpacketResult::Done};
}
