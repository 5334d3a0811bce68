// A failed system call: its name, its errno and what it was about. It is thrown inside an addon only;
// javascript_error.h turns it into a JavaScript error.
#pragma once

#include <cerrno>
#include <string>
#include <utility>

struct Failure {
  const char *syscall;
  int error; // positive
  std::string object;
};

// Ends the current operation with the errno as it is now.
[[noreturn]] inline void fail(const char *syscall, std::string object) {
  const int error = errno;
  throw Failure{syscall, error, std::move(object)};
}
