// peer make-directories: makes the directories that its standard input names, one a line, as the kubelet makes those of
// logs: by mkdirat(2) with an absolute path. Answers with an empty line, or with the kernel's error.
#include "commands.h"
#include "report.h"
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <iostream>
#include <string>
#include <sys/stat.h>

int run_make_directories(int, char **) {
  constexpr mode_t MODE = 0755;
  for (std::string path; std::getline(std::cin, path);)
    report(mkdirat(AT_FDCWD, path.c_str(), MODE) == 0 || errno == EEXIST ? "" : strerror(errno));
  return 0;
}
