// The owner of one file descriptor: closes it once, when it goes out of scope.
#pragma once

#include <unistd.h>
#include <utility>

class Descriptor {
public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  ~Descriptor() { reset(); }
  Descriptor(Descriptor &&other) noexcept : fd_(other.release()) {}
  Descriptor &operator=(Descriptor &&other) noexcept {
    reset(other.release());
    return *this;
  }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  // The caller owns it from now on.
  int release() { return std::exchange(fd_, -1); }
  // Closes it, and owns another one, or none.
  void reset(int fd = -1) {
    const int old = std::exchange(fd_, fd);
    if (old >= 0)
      ::close(old);
  }

private:
  int fd_;
};
