// getsockopt(2) and setsockopt(2) on a borrowed descriptor.
#pragma once

#include <napi.h>

// getSockOpt(fd, level, name, length): Buffer
Napi::Value getSockOpt(const Napi::CallbackInfo &info);
// setSockOptInt(fd, level, name, value)
void setSockOptInt(const Napi::CallbackInfo &info);
