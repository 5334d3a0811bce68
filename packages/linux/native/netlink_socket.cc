// One NETLINK_ROUTE socket per request: the rest of an interrupted answer is gone with it.
#include "netlink_socket.h"

#include <cerrno>

#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "native/descriptor.h"
#include "native/failure.h"
#include "netlink_retry.h"

namespace {

#ifndef SOL_NETLINK
#define SOL_NETLINK 270 // linux/socket.h
#endif

// The kernel builds dump datagrams of at most 32 KiB (netlink_dump, NLMSG_GOODSIZE); twice that is never too short.
constexpr size_t datagramBytes = 64 * 1024;
// The answer is written by the kernel during the call; only a bug there can leave us without one.
constexpr timeval patience = {5, 0};

void setOption(const Descriptor &socket, int level, int option, const void *value, socklen_t size,
               const std::string &object) {
  if (setsockopt(socket.get(), level, option, value, size) < 0)
    fail("setsockopt", object);
}

// One request and its whole answer. False if it has to be repeated.
bool exchange(NetlinkRequest &request, uint32_t sequence, const std::string &object,
              const std::function<bool(const NetlinkItem &)> &visit) {
  Descriptor socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!socket.valid())
    fail("socket", object);
  setOption(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience), object);
  // Errors with their text, and without the quoted request.
  const int on = 1;
  setOption(socket, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on), object);
  setOption(socket, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on), object);

  const std::vector<uint8_t> &bytes = request.finish(sequence);
  sockaddr_nl kernel = {};
  kernel.nl_family = AF_NETLINK;
  if (sendto(socket.get(), bytes.data(), bytes.size(), 0, reinterpret_cast<sockaddr *>(&kernel), sizeof(kernel)) < 0)
    fail("sendto", object);

  std::vector<uint8_t> buffer(datagramBytes);
  for (;;) {
    sockaddr_nl sender = {};
    socklen_t senderLength = sizeof(sender);
    const ssize_t size = recvfrom(socket.get(), buffer.data(), buffer.size(), MSG_TRUNC,
                                  reinterpret_cast<sockaddr *>(&sender), &senderLength);
    if (size < 0 && errno == EINTR)
      continue;
    if (size < 0 && errno == ENOBUFS)
      return false;
    if (size < 0)
      fail("recvfrom", object);
    if (static_cast<size_t>(size) > buffer.size())
      throw Failure{"recvfrom", EMSGSIZE, object};
    if (sender.nl_pid != 0) // only messages from the kernel count
      continue;
    const Answer answer = readAnswer(buffer.data(), static_cast<size_t>(size), sequence, visit);
    switch (answer.state) {
    case AnswerState::More:
      break;
    case AnswerState::Done:
      return true;
    case AnswerState::Interrupted:
      return false;
    case AnswerState::Failed:
      throw Failure{"rtnetlink", answer.error, answer.text.empty() ? object : object + ": \"" + answer.text + "\""};
    case AnswerState::Malformed:
      throw Failure{"rtnetlink", EBADMSG, object};
    }
  }
}

} // namespace

void changeByNetlink(NetlinkRequest &request, const std::string &object) {
  const auto nothing = [](const NetlinkItem &) { return true; };
  // If the answer is lost the request is not repeated: the change may have been made.
  if (!exchange(request, 1, object, nothing))
    throw Failure{"rtnetlink", ENOBUFS, object};
}

void dumpByNetlink(NetlinkRequest &request, const std::string &object, const std::function<void()> &restart,
                   const std::function<bool(const NetlinkItem &)> &visit) {
  for (int attempt = 1; attempt <= dumpAttempts; attempt++) {
    pauseBefore(attempt);
    restart();
    if (exchange(request, static_cast<uint32_t>(attempt), object, visit))
      return;
  }
  throw Failure{"rtnetlink", EAGAIN, object};
}
