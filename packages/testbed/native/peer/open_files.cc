// See open_files.h.
#include "open_files.h"
#include <algorithm>
#include <sys/resource.h>

namespace {
constexpr rlim_t ENOUGH = 20000;
}

void allow_many_open_files() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
    return;
  // Only CAP_SYS_RESOURCE raises the hard limit, which is what everybody may use.
  const rlimit raised{std::max(limit.rlim_max, ENOUGH), std::max(limit.rlim_max, ENOUGH)};
  const rlimit allowed{limit.rlim_max, limit.rlim_max};
  if (setrlimit(RLIMIT_NOFILE, &raised) != 0)
    setrlimit(RLIMIT_NOFILE, &allowed);
}
