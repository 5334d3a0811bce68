// A failed system call: its name and its errno, carried as far as the N-API boundary.
#pragma once
#include <cerrno>

namespace sluice {

struct SystemError {
  const char *syscall;
  int error;
};

[[noreturn]] inline void ThrowErrno(const char *syscall) {
  throw SystemError{syscall, errno};
}

} // namespace sluice
