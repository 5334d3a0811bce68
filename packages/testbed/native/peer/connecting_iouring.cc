// connect() by io_uring, without liburing: the ring has one entry and is made for one connect.
#include "connecting.h"
#include <cerrno>
#include <cstring>
#include <linux/io_uring.h>
#include <linux/time_types.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {
class Mapping {
public:
  Mapping(int fd, size_t size, off_t offset)
      : size_(size), base_(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset)) {}
  Mapping(const Mapping &) = delete;
  Mapping &operator=(const Mapping &) = delete;
  ~Mapping() {
    if (valid())
      munmap(base_, size_);
  }
  bool valid() const { return base_ != MAP_FAILED; }
  template <class T> T *at(size_t offset) const { return reinterpret_cast<T *>(static_cast<char *>(base_) + offset); }

private:
  size_t size_;
  void *base_;
};
} // namespace

int connect_by_iouring(int fd, const Address &to, long long deadline_ms) {
  io_uring_params params{};
  const Descriptor ring(static_cast<int>(syscall(SYS_io_uring_setup, 2, &params)));
  if (ring.get() < 0)
    return errno;
  const Mapping submissions(ring.get(), params.sq_off.array + params.sq_entries * sizeof(uint32_t), IORING_OFF_SQ_RING);
  const Mapping completions(ring.get(), params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe),
                            IORING_OFF_CQ_RING);
  const Mapping entries(ring.get(), params.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES);
  if (!submissions.valid() || !completions.valid() || !entries.valid())
    return ENOMEM;

  // The connect, linked with a timeout that cancels it.
  auto *connect_entry = entries.at<io_uring_sqe>(0);
  memset(connect_entry, 0, 2 * sizeof *connect_entry);
  connect_entry->opcode = IORING_OP_CONNECT;
  connect_entry->flags = IOSQE_IO_LINK;
  connect_entry->fd = fd;
  connect_entry->addr = reinterpret_cast<uint64_t>(to.raw());
  connect_entry->off = to.length; // addr_len is passed in the field "off" (io_uring_prep_connect(3))
  connect_entry->user_data = 1;
  const long long left = deadline_ms > now_ms() ? deadline_ms - now_ms() : 1;
  const __kernel_timespec limit{left / 1000, (left % 1000) * 1000000};
  auto *timeout_entry = entries.at<io_uring_sqe>(sizeof(io_uring_sqe));
  timeout_entry->opcode = IORING_OP_LINK_TIMEOUT;
  timeout_entry->addr = reinterpret_cast<uint64_t>(&limit);
  timeout_entry->len = 1;
  timeout_entry->user_data = 2;

  auto *array = submissions.at<uint32_t>(params.sq_off.array);
  array[0] = 0;
  array[1] = 1;
  __atomic_store_n(submissions.at<uint32_t>(params.sq_off.tail), 2u, __ATOMIC_RELEASE);

  // Two completions: the connect's and the timeout's.
  if (syscall(SYS_io_uring_enter, ring.get(), 2, 2, IORING_ENTER_GETEVENTS, nullptr, 0) < 0)
    return errno;
  const uint32_t tail = __atomic_load_n(completions.at<uint32_t>(params.cq_off.tail), __ATOMIC_ACQUIRE);
  for (uint32_t i = 0; i < tail; i++) {
    const auto *done = completions.at<io_uring_cqe>(params.cq_off.cqes + i * sizeof(io_uring_cqe));
    if (done->user_data == 1)
      return done->res == -ECANCELED ? ETIMEDOUT : -done->res;
  }
  return EIO;
}
