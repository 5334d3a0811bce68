// A network namespace of one's own.
#pragma once

#include <napi.h>

// newNetns(): OwnedFd
Napi::Value newNetns(const Napi::CallbackInfo &info);
