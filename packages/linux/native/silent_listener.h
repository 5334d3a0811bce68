// A listening socket that answers nobody.
#pragma once

#include <napi.h>

// silentListener(): OwnedFd
Napi::Value silentListener(const Napi::CallbackInfo &info);
// jiffyMicroseconds(): number
Napi::Value jiffyMicroseconds(const Napi::CallbackInfo &info);
