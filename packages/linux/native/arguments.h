// Reads the arguments of a call from JavaScript, and refuses those that are wrong in words that name them.
#pragma once

#include "native/javascript_error.h"

// A path or name argument. One with a NUL inside would reach the kernel cut short: refused.
std::string textArgument(const Napi::CallbackInfo &info, size_t index, const char *name);
// An integer argument in [minimum, maximum].
int64_t integerArgument(const Napi::CallbackInfo &info, size_t index, const char *name, int64_t minimum,
                        int64_t maximum);
