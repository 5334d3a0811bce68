// Opens a file of /proc/sys/net on a thread inside the namespace (proc_sysctl.c looks at the opener's namespace).
#include "netns_sysctl.h"

#include <climits>

#include <fcntl.h>
#include <unistd.h>

#include "arguments.h"
#include "native/descriptor.h"
#include "native/netns_thread.h"

namespace {

// A sysctl's text fits a page (proc_sys_call_handler of fs/proc/proc_sysctl.c).
constexpr size_t longestValue = 4096;

struct Target {
  int netns;
  std::string path;
  std::string file;

  explicit Target(const Napi::CallbackInfo &info)
      : netns(static_cast<int>(integerArgument(info, 0, "netnsFd", 0, INT_MAX))),
        path(textArgument(info, 1, "netnsPath")), file(textArgument(info, 2, "file")) {}

  std::string object() const { return path + " (" + file + ")"; }
};

} // namespace

Napi::Value readNetnsSysctl(const Napi::CallbackInfo &info) {
  const Target target(info);
  const std::string text = insideNetns(target.netns, target.path, [&] {
    Descriptor file(::open(target.file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.valid())
      fail("open", target.object());
    char value[longestValue];
    const ssize_t size = ::read(file.get(), value, sizeof(value));
    if (size < 0)
      fail("read", target.object());
    return std::string(value, static_cast<size_t>(size));
  });
  return Napi::String::New(info.Env(), text);
}

void writeNetnsSysctl(const Napi::CallbackInfo &info) {
  const Target target(info);
  const std::string value = textArgument(info, 3, "value");
  insideNetns(target.netns, target.path, [&] {
    Descriptor file(::open(target.file.c_str(), O_WRONLY | O_CLOEXEC));
    if (!file.valid())
      fail("open", target.object());
    if (::write(file.get(), value.data(), value.size()) < 0)
      fail("write", target.object());
  });
}
