// A failed system call on its way to JavaScript: the call's name, its errno and the object that it was about.
#pragma once

#include <cerrno>
#include <exception>
#include <string>

#include <napi.h>

// Thrown inside the addon only; `guarded` turns it into a JavaScript error before it can reach Node.
struct Failure {
  const char *syscall;
  int error;
  std::string object;
};

// Ends the current operation with the errno as it is now.
[[noreturn]] inline void fail(const char *syscall, std::string object) {
  const int error = errno;
  throw Failure{syscall, error, std::move(object)};
}

Napi::Error toJavaScript(Napi::Env env, const Failure &failure);

// A path or name argument. One with a NUL inside would reach the kernel cut short: refused.
std::string textArgument(const Napi::CallbackInfo &info, size_t index, const char *name);
// An integer argument in [minimum, maximum].
int64_t integerArgument(const Napi::CallbackInfo &info, size_t index, const char *name, int64_t minimum,
                        int64_t maximum);

// The one way from an entry point into the addon's own code: every exception becomes a JavaScript error here.
template <typename Body> Napi::Value guarded(const Napi::CallbackInfo &info, Body body) {
  try {
    return body();
  } catch (const Failure &failure) {
    throw toJavaScript(info.Env(), failure);
  } catch (const Napi::Error &) {
    throw;
  } catch (const std::exception &error) {
    throw Napi::Error::New(info.Env(), error.what());
  }
}
