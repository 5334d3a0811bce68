// Subscribes to the proc connector and waits until the kernel has acknowledged it.
#include "socket.h"
#include <cstring>
#include <linux/cn_proc.h>
#include <linux/connector.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>

namespace {

constexpr const char *subscribeCall = "PROC_CN_MCAST_LISTEN";

int64_t monotonicMs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// The plain four-byte request, not 6.6's struct proc_input with its event mask: events filtered by the mask still take
// sequence numbers, and would look like losses.
void sendOperation(int fd, proc_cn_mcast_op operation, uint32_t ack) {
  alignas(nlmsghdr) uint8_t request[NLMSG_SPACE(sizeof(cn_msg) + sizeof(uint32_t))] = {};
  auto *header = reinterpret_cast<nlmsghdr *>(request);
  header->nlmsg_len = NLMSG_LENGTH(sizeof(cn_msg) + sizeof(uint32_t));
  header->nlmsg_type = NLMSG_DONE;
  auto *message = static_cast<cn_msg *>(NLMSG_DATA(header));
  message->id.idx = CN_IDX_PROC;
  message->id.val = CN_VAL_PROC;
  message->ack = ack;
  message->len = sizeof(uint32_t);
  const uint32_t value = operation;
  std::memcpy(message->data, &value, sizeof value);
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  if (sendto(fd, request, header->nlmsg_len, 0, reinterpret_cast<sockaddr *>(&kernel), sizeof kernel) < 0)
    fail("send", procConnector);
}

} // namespace

ConnectorSocket::ConnectorSocket(int receiveBufferBytes, int ackTimeoutMs, Parser &parser) {
  fd_ = Descriptor(socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_CONNECTOR));
  if (!fd_.valid())
    fail("socket", procConnector);
  // Set before bind, so that not even the first burst meets the small default buffer.
  if (receiveBufferBytes > 0 &&
      setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &receiveBufferBytes, sizeof receiveBufferBytes) < 0)
    fail("setsockopt", procConnector);
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = CN_IDX_PROC;
  if (bind(fd_.get(), reinterpret_cast<sockaddr *>(&address), sizeof address) < 0)
    fail("bind", procConnector);
  // The acknowledgement is multicast to every listener on the machine and carries our ack number plus one; a random one
  // keeps us from taking another program's answer for ours.
  uint32_t token = 0;
  if (getrandom(&token, sizeof token, 0) != sizeof token)
    fail("getrandom", procConnector);
  sendOperation(fd_.get(), PROC_CN_MCAST_LISTEN, token);
  awaitAck(token, ackTimeoutMs, parser);
}

ConnectorSocket::~ConnectorSocket() {
  // Kernels before 6.6 count listeners and do not notice a close: without this they would make events for nobody.
  try {
    if (fd_.valid())
      sendOperation(fd_.get(), PROC_CN_MCAST_IGNORE, 0);
  } catch (const Failure &) {
    // Closing goes on, because the descriptor must not leak.
  }
}

void ConnectorSocket::awaitAck(uint32_t token, int timeoutMs, Parser &parser) {
  const int64_t deadline = monotonicMs() + timeoutMs;
  std::vector<Record> records;
  for (;;) {
    // Reads one datagram at a time: what follows the acknowledgement belongs to the reader.
    uint8_t bytes[CONNECTOR_MAX_MSG_SIZE];
    iovec vector{bytes, sizeof bytes};
    sockaddr_nl from{};
    msghdr message{};
    message.msg_name = &from;
    message.msg_namelen = sizeof from;
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    const ssize_t size = recvmsg(fd_.get(), &message, MSG_DONTWAIT);
    if (size >= 0) {
      records.clear();
      parser.feed(bytes, static_cast<size_t>(size), from.nl_pid, (message.msg_flags & MSG_TRUNC) != 0, records);
      for (const Record &record : records) {
        if (record.kind != kindAck || record.ack != token + 1)
          continue;
        if (record.args[0] == 0)
          return;
        const auto refusal = static_cast<int32_t>(record.args[0]); // kernels differ in the sign
        throw Failure{subscribeCall, refusal < 0 ? -refusal : refusal, procConnector};
      }
      if (monotonicMs() >= deadline)
        throw Failure{subscribeCall, ETIMEDOUT, procConnector};
      continue;
    }
    if (errno == EINTR || errno == ENOBUFS)
      continue;
    if (errno != EAGAIN)
      fail("recvmsg", procConnector);
    const int64_t left = deadline - monotonicMs();
    if (left <= 0)
      throw Failure{subscribeCall, ETIMEDOUT, procConnector};
    pollfd readable{fd_.get(), POLLIN, 0};
    if (poll(&readable, 1, static_cast<int>(left)) < 0 && errno != EINTR)
      fail("poll", procConnector);
  }
}

int ConnectorSocket::receiveBufferBytes() const {
  int bytes = 0;
  socklen_t length = sizeof bytes;
  if (getsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &bytes, &length) < 0)
    fail("getsockopt", procConnector);
  return bytes;
}
