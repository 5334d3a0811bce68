// Sysctls of a network namespace: the files below /proc/sys/net, which are those of the opening thread's namespace.
#pragma once

#include <napi.h>

// readNetnsSysctl(netnsFd, path, file): the file's text as it is
Napi::Value readNetnsSysctl(const Napi::CallbackInfo &info);
// writeNetnsSysctl(netnsFd, path, file, value)
void writeNetnsSysctl(const Napi::CallbackInfo &info);
