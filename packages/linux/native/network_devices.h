// The devices of a network namespace.
#pragma once

#include <napi.h>

// netnsDevices(netnsFd, path): { ifindex, name }[]
Napi::Value netnsDevices(const Napi::CallbackInfo &info);
