// Turns an errno into a JavaScript error.
#pragma once

#include <napi.h>

#include "native/failure.h"

// 'EPERM' for 1, 'ERRNO_<n>' for a number without a name.
std::string errnoName(int error);

// An Error "<syscall> <object>: <text> (<code>)" with these four as properties, and `errno`. The code is the errno's
// name and the text its sentence, unless they are given: libbpf numbers errors of its own.
Napi::Error toJavaScript(Napi::Env env, const Failure &failure);
Napi::Error toJavaScript(Napi::Env env, const Failure &failure, const std::string &code, const std::string &text);

// Runs an addon's own code for JavaScript: a Failure becomes a JavaScript error here. node-addon-api converts every
// other exception (NODE_ADDON_API_CPP_EXCEPTIONS_ALL).
template <typename Body> auto guarded(Napi::Env env, Body body) {
  try {
    return body();
  } catch (const Failure &failure) {
    throw toJavaScript(env, failure);
  }
}

// Wraps a function that throws Failure for export.
template <auto function> auto guarded(const Napi::CallbackInfo &info) {
  return guarded(info.Env(), [&] { return function(info); });
}
