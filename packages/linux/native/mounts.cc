// Thin wrappers of the system calls; all threads of the process share one mount namespace, so any thread will do.
#include "mounts.h"

#include <climits>

#include <sys/mount.h>

#include "arguments.h"

void mountFileSystem(const Napi::CallbackInfo &info) {
  const std::string source = textArgument(info, 0, "source");
  const std::string target = textArgument(info, 1, "target");
  const std::string type = textArgument(info, 2, "fsType");
  const auto flags = static_cast<unsigned long>(integerArgument(info, 3, "flags", 0, UINT_MAX));
  const std::string data = textArgument(info, 4, "data");
  if (mount(source.c_str(), target.c_str(), type.c_str(), flags, data.empty() ? nullptr : data.c_str()) < 0)
    fail("mount", (type.empty() ? source : type) + " on " + target);
}

void unmountFileSystem(const Napi::CallbackInfo &info) {
  const std::string target = textArgument(info, 0, "target");
  const int flags = static_cast<int>(integerArgument(info, 1, "flags", 0, INT_MAX));
  if (umount2(target.c_str(), flags) < 0)
    fail("umount2", target);
}
