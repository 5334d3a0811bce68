// See report.h.
#include "report.h"
#include <cstdio>
#include <mutex>

void report(const std::string &line) {
  static std::mutex lock;
  const std::lock_guard<std::mutex> guard(lock);
  puts(line.c_str());
  fflush(stdout);
}
