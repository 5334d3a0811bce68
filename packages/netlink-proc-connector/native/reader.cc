// Poll, linger, recvmmsg until the queue is empty, push; and again.
#include "reader.h"
#include <linux/netlink.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>

namespace {

// Datagrams per system call. At 30 000 events/s and 2 ms of linger about 60 are waiting.
constexpr size_t datagramsPerCall = 128;
// A proc connector message has 76 bytes; anything longer than this is not one and is counted as truncated.
constexpr size_t datagramBytes = 256;

// The buffers that one recvmmsg fills.
struct Mailbox {
  alignas(8) uint8_t bytes[datagramsPerCall][datagramBytes];
  sockaddr_nl from[datagramsPerCall];
  iovec vectors[datagramsPerCall];
  mmsghdr headers[datagramsPerCall];

  int receive(int fd) {
    for (size_t i = 0; i < datagramsPerCall; i++) {
      vectors[i] = {bytes[i], datagramBytes};
      headers[i] = {};
      headers[i].msg_hdr.msg_name = &from[i];
      headers[i].msg_hdr.msg_namelen = sizeof from[i]; // the kernel overwrites it
      headers[i].msg_hdr.msg_iov = &vectors[i];
      headers[i].msg_hdr.msg_iovlen = 1;
    }
    return recvmmsg(fd, headers, datagramsPerCall, MSG_DONTWAIT, nullptr);
  }
};

} // namespace

uint64_t monotonicNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
}

Reader::Reader(const ReaderOptions &options, std::function<void()> wake)
    : options_(options), wake_(std::move(wake)), ring_(options.ringRecords) {
  stopEvent_ = Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stopEvent_.valid())
    fail("eventfd", procConnector);
  socket_ = std::make_unique<ConnectorSocket>(options.receiveBufferBytes, options.ackTimeoutMs, parser_);
  stats_.receiveBufferBytes = socket_->receiveBufferBytes();
  if (const int error = thread_.start("proc-connector", [this] { run(); }); error != 0)
    throw Failure{"pthread_create", error, procConnector};
}

Reader::~Reader() {
  close();
}

void Reader::close() {
  if (thread_.started()) {
    stop_ = true;
    eventfd_write(stopEvent_.get(), 1);
    thread_.join();
  }
  socket_.reset();
}

void Reader::run() {
  for (;;) {
    pollfd fds[2] = {{stopEvent_.get(), POLLIN, 0}, {socket_->fd(), POLLIN, 0}};
    if (poll(fds, 2, -1) < 0 && errno != EINTR)
      return;
    if (fds[0].revents != 0)
      return;
    // Waits on the stop event instead of sleeping, so that closing never waits for the linger.
    if (options_.lingerMs > 0 && stopRequested(options_.lingerMs))
      return;
    drain();
    if (stop_)
      return;
  }
}

bool Reader::stopRequested(int timeoutMs) const {
  pollfd stop{stopEvent_.get(), POLLIN, 0};
  return poll(&stop, 1, timeoutMs) > 0;
}

void Reader::drain() {
  static thread_local Mailbox mailbox;
  while (!stop_) {
    const int received = mailbox.receive(socket_->fd());
    if (received >= 0) {
      for (int i = 0; i < received; i++) {
        const mmsghdr &header = mailbox.headers[i];
        parser_.feed(mailbox.bytes[i], header.msg_len, mailbox.from[i].nl_pid,
                     (header.msg_hdr.msg_flags & MSG_TRUNC) != 0, batch_);
      }
      deliver();
      continue;
    }
    if (errno == EINTR)
      continue;
    if (errno == ENOBUFS) {
      // Reported once, ahead of everything that is still queued; the kernel queues nothing new until we have emptied
      // the queue (NETLINK_S_CONGESTED), so the loss comes after what we read now.
      parser_.noteSocketOverrun();
      std::lock_guard<std::mutex> lock(statsMutex_);
      stats_.enobufs++;
      continue;
    }
    if (errno != EAGAIN) {
      parser_.noteSocketOverrun();
      std::lock_guard<std::mutex> lock(statsMutex_);
      stats_.receiveErrors++;
    }
    parser_.flushSocketOverrun(monotonicNs(), batch_);
    deliver();
    return;
  }
}

void Reader::deliver() {
  {
    std::lock_guard<std::mutex> lock(statsMutex_);
    stats_.parse = parser_.counters();
  }
  // The filter is here, after the sequence numbers, and not in the kernel: see the README.
  const uint32_t wanted = options_.kindMask | kindOverrun;
  size_t kept = 0;
  for (const Record &record : batch_) {
    if ((record.kind & wanted) != 0)
      batch_[kept++] = record;
  }
  batch_.resize(kept);
  const bool wake = ring_.push(batch_);
  batch_.clear();
  if (wake)
    wake_();
}

std::vector<Record> Reader::take(size_t max, bool &more) {
  return ring_.take(max, monotonicNs(), more);
}

ReaderStats Reader::stats() const {
  std::lock_guard<std::mutex> lock(statsMutex_);
  ReaderStats stats = stats_;
  stats.ringLost = ring_.lost();
  return stats;
}
