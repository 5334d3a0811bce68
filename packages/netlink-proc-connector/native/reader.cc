// poll, linger, recvmmsg until empty, push; and again.
#include "reader.h"
#include <linux/netlink.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>

namespace sluice {
namespace {

// Datagrams per system call. At 30 000 events/s and 2 ms of linger about 60 are waiting.
constexpr size_t kDatagrams = 128;
// A proc connector message has 76 bytes; anything longer than this is not one and is counted as truncated.
constexpr size_t kDatagramBytes = 256;

// The buffers that one recvmmsg fills.
struct Mailbox {
  alignas(8) uint8_t bytes[kDatagrams][kDatagramBytes];
  sockaddr_nl from[kDatagrams];
  iovec vectors[kDatagrams];
  mmsghdr headers[kDatagrams];

  int Receive(int fd) {
    for (size_t i = 0; i < kDatagrams; i++) {
      vectors[i] = {bytes[i], kDatagramBytes};
      headers[i] = {};
      headers[i].msg_hdr.msg_name = &from[i];
      headers[i].msg_hdr.msg_namelen = sizeof from[i]; // the kernel overwrites it
      headers[i].msg_hdr.msg_iov = &vectors[i];
      headers[i].msg_hdr.msg_iovlen = 1;
    }
    return recvmmsg(fd, headers, kDatagrams, MSG_DONTWAIT, nullptr);
  }
};

} // namespace

uint64_t MonotonicNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
}

Reader::Reader(const ReaderOptions &options, std::function<void()> wake)
    : options_(options), wake_(std::move(wake)), ring_(options.ring_records) {
  stop_event_ = Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop_event_.valid())
    fail("eventfd", kObject);
  socket_ = std::make_unique<ConnectorSocket>(options.receive_buffer_bytes, options.ack_timeout_ms, parser_);
  stats_.receive_buffer_bytes = socket_->receive_buffer_bytes();
  if (const int error = thread_.start("proc-connector", [this] { Run(); }); error != 0)
    throw Failure{"pthread_create", error, kObject};
}

Reader::~Reader() {
  Close();
}

void Reader::Close() {
  if (thread_.started()) {
    stop_ = true;
    eventfd_write(stop_event_.get(), 1);
    thread_.join();
  }
  socket_.reset();
}

void Reader::Run() {
  for (;;) {
    pollfd fds[2] = {{stop_event_.get(), POLLIN, 0}, {socket_->fd(), POLLIN, 0}};
    if (poll(fds, 2, -1) < 0 && errno != EINTR)
      return;
    if (fds[0].revents != 0)
      return;
    // Waiting on the stop event rather than sleeping, so that closing never waits for the linger.
    if (options_.linger_ms > 0 && StopRequested(options_.linger_ms))
      return;
    Drain();
    if (stop_)
      return;
  }
}

bool Reader::StopRequested(int timeout_ms) const {
  pollfd stop{stop_event_.get(), POLLIN, 0};
  return poll(&stop, 1, timeout_ms) > 0;
}

void Reader::Drain() {
  static thread_local Mailbox mailbox;
  while (!stop_) {
    const int received = mailbox.Receive(socket_->fd());
    if (received >= 0) {
      for (int i = 0; i < received; i++) {
        const mmsghdr &header = mailbox.headers[i];
        parser_.Feed(mailbox.bytes[i], header.msg_len, mailbox.from[i].nl_pid,
                     (header.msg_hdr.msg_flags & MSG_TRUNC) != 0, batch_);
      }
      Deliver();
      continue;
    }
    if (errno == EINTR)
      continue;
    if (errno == ENOBUFS) {
      // Reported once, ahead of everything that is still queued; the kernel queues nothing new until we have emptied
      // the queue (NETLINK_S_CONGESTED), so the loss lies behind what we read now.
      parser_.NoteSocketOverrun();
      std::lock_guard<std::mutex> lock(stats_mutex_);
      stats_.enobufs++;
      continue;
    }
    if (errno != EAGAIN) {
      parser_.NoteSocketOverrun();
      std::lock_guard<std::mutex> lock(stats_mutex_);
      stats_.receive_errors++;
    }
    parser_.FlushSocketOverrun(MonotonicNs(), batch_);
    Deliver();
    return;
  }
}

void Reader::Deliver() {
  {
    std::lock_guard<std::mutex> lock(stats_mutex_);
    stats_.parse = parser_.counters();
  }
  // The filter stands here, behind the sequence numbers, and not in the kernel: see the README.
  const uint32_t wanted = options_.kind_mask | kOverrun;
  size_t kept = 0;
  for (const Record &record : batch_) {
    if ((record.kind & wanted) != 0)
      batch_[kept++] = record;
  }
  batch_.resize(kept);
  const bool wake = ring_.Push(batch_);
  batch_.clear();
  if (wake)
    wake_();
}

std::vector<Record> Reader::Take(size_t max, bool &more) {
  return ring_.Take(max, MonotonicNs(), more);
}

ReaderStats Reader::Stats() const {
  std::lock_guard<std::mutex> lock(stats_mutex_);
  ReaderStats stats = stats_;
  stats.ring_lost = ring_.lost();
  return stats;
}

} // namespace sluice
