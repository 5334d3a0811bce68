// Socket options that Node has no call for. The descriptor is borrowed: it is neither closed nor kept.
#include "socket_option.h"

#include <algorithm>
#include <climits>
#include <vector>

#include <sys/socket.h>

#include "arguments.h"

namespace {

// No option's value is longer than a page; the limit only keeps a wrong argument from allocating gigabytes.
constexpr int64_t longestValue = 64 * 1024;

std::string describe(int fd, int level, int name) {
  return "fd " + std::to_string(fd) + ", level " + std::to_string(level) + ", option " + std::to_string(name);
}

} // namespace

Napi::Value getSockOpt(const Napi::CallbackInfo &info) {
  const int fd = static_cast<int>(integerArgument(info, 0, "fd", 0, INT_MAX));
  const int level = static_cast<int>(integerArgument(info, 1, "level", INT_MIN, INT_MAX));
  const int name = static_cast<int>(integerArgument(info, 2, "name", INT_MIN, INT_MAX));
  std::vector<uint8_t> value(static_cast<size_t>(integerArgument(info, 3, "length", 0, longestValue)));
  socklen_t length = static_cast<socklen_t>(value.size());
  if (getsockopt(fd, level, name, value.data(), &length) < 0)
    fail("getsockopt", describe(fd, level, name));
  // Some options return the length that they would have needed.
  const size_t filled = std::min(static_cast<size_t>(length), value.size());
  return Napi::Buffer<uint8_t>::Copy(info.Env(), value.data(), filled);
}

void setSockOptInt(const Napi::CallbackInfo &info) {
  const int fd = static_cast<int>(integerArgument(info, 0, "fd", 0, INT_MAX));
  const int level = static_cast<int>(integerArgument(info, 1, "level", INT_MIN, INT_MAX));
  const int name = static_cast<int>(integerArgument(info, 2, "name", INT_MIN, INT_MAX));
  const int value = static_cast<int>(integerArgument(info, 3, "value", INT_MIN, INT_MAX));
  if (setsockopt(fd, level, name, &value, sizeof(value)) < 0)
    fail("setsockopt", describe(fd, level, name));
}
