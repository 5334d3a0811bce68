// Reads whole lines from a descriptor, which may deliver less or more at a time.
#pragma once
#include <cerrno>
#include <string>
#include <unistd.h>

class Lines {
public:
  explicit Lines(int fd) : fd_(fd) {}
  // 0 if there may be more, below 0 at the end (errno is 0) or after an error.
  int fill() {
    char buffer[4096];
    const ssize_t count = read(fd_, buffer, sizeof buffer);
    if (count > 0)
      text_.append(buffer, static_cast<size_t>(count));
    if (count == 0)
      errno = 0;
    return count > 0 ? 0 : -1;
  }
  bool next(std::string &line) {
    const size_t end = text_.find('\n');
    if (end == std::string::npos)
      return false;
    line = text_.substr(0, end);
    text_.erase(0, end + 1);
    return true;
  }

private:
  int fd_;
  std::string text_;
};
