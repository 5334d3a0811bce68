// Reads the arguments of a call from JavaScript. A wrong one is refused with a message that names it.
#pragma once

#include "native/javascript_error.h"

// A path or name argument. One with a NUL inside is refused, because it would reach the kernel cut short.
std::string textArgument(const Napi::CallbackInfo &info, size_t index, const char *name);
// An integer argument in [minimum, maximum].
int64_t integerArgument(const Napi::CallbackInfo &info, size_t index, const char *name, int64_t minimum,
                        int64_t maximum);
