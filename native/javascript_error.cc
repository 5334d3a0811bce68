// See javascript_error.h.
#include "native/javascript_error.h"

#include <cstring>

namespace {

// The kernel's own number behind "operation not supported" in many BPF commands. It never became part of the user API,
// so that libc has no name for it (include/linux/errno.h).
constexpr int kernelNotSupported = 524;

std::string errnoText(int error) {
  if (error == kernelNotSupported)
    return "Operation not supported by this kernel";
  const char *text = strerrordesc_np(error);
  return text != nullptr ? text : "Unknown error " + std::to_string(error);
}

} // namespace

std::string errnoName(int error) {
  if (error == kernelNotSupported)
    return "ENOTSUPP";
  const char *name = strerrorname_np(error);
  return name != nullptr ? name : "ERRNO_" + std::to_string(error);
}

Napi::Error toJavaScript(Napi::Env env, const Failure &failure) {
  return toJavaScript(env, failure, errnoName(failure.error), errnoText(failure.error));
}

Napi::Error toJavaScript(Napi::Env env, const Failure &failure, const std::string &code, const std::string &text) {
  const std::string call = failure.object.empty() ? failure.syscall : failure.syscall + (" " + failure.object);
  Napi::Error error = Napi::Error::New(env, call + ": " + text + " (" + code + ")");
  error.Set("code", code);
  error.Set("errno", Napi::Number::New(env, failure.error));
  error.Set("syscall", Napi::String::New(env, failure.syscall));
  error.Set("object", failure.object);
  error.Set("text", text);
  return error;
}
