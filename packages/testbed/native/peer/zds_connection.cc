// See zds_connection.h.
#include "zds_connection.h"
#include <cerrno>
#include <cstring>
#include <sys/un.h>
#include <vector>

namespace {
constexpr size_t LONGEST_MESSAGE = 1024; // ztunnel's buffer (src/inpod/protocol.rs)
constexpr size_t MOST_DESCRIPTORS = 8;   // more than is ever allowed, so that they can be counted

std::vector<Descriptor> descriptors_of(msghdr &message) {
  std::vector<Descriptor> out;
  for (cmsghdr *part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
      continue;
    for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= part->cmsg_len; at += sizeof(int)) {
      int fd = -1;
      memcpy(&fd, CMSG_DATA(part) + at, sizeof fd);
      out.emplace_back(fd);
    }
  }
  return out;
}

ZdsRequest decode(std::string_view bytes) {
  try {
    return decode_request(bytes);
  } catch (const std::exception &error) {
    throw UnreadableMessage(std::string("failure to read message: ") + error.what());
  }
}
} // namespace

ZdsConnection::ZdsConnection(const std::string &path) : socket_(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    throw std::runtime_error("'" + path + "' is too long for the path of a socket");
  memcpy(address.sun_path, path.data(), path.size());
  if (connect(socket_.get(), reinterpret_cast<sockaddr *>(&address), sizeof address) != 0)
    fail("connect " + path);
  send_packet(encode_hello());
}

bool ZdsConnection::receive(ReceivedRequest &received) {
  char bytes[LONGEST_MESSAGE];
  alignas(cmsghdr) char control[CMSG_SPACE(MOST_DESCRIPTORS * sizeof(int))];
  iovec data{bytes, sizeof bytes};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t count;
  do
    count = recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
  while (count < 0 && errno == EINTR);
  if (count < 0)
    fail("receive");
  std::vector<Descriptor> descriptors = descriptors_of(message);
  if (count == 0)
    return false;
  if (descriptors.size() > 1)
    throw UnreadableMessage("failure to read message: " + std::to_string(descriptors.size()) + " descriptors");
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
    throw UnreadableMessage("failure to read message: truncated");
  received.request = decode({bytes, static_cast<size_t>(count)});
  const bool wanted = received.request.kind == ZdsRequest::Kind::add;
  if (wanted != !descriptors.empty())
    throw UnreadableMessage(wanted ? "failure to read message: an Add without a descriptor"
                                   : "failure to read message: a descriptor where none belongs");
  received.netns = wanted ? std::move(descriptors.front()) : Descriptor();
  return true;
}

void ZdsConnection::answer(const std::string &error) {
  send_packet(encode_ack(error));
}

void ZdsConnection::send_packet(const std::string &bytes) {
  if (send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0)
    fail("send");
}
