// Sysctls of a network namespace: the files below /proc/sys/net, which are those of the namespace of who opens them.
#pragma once

#include <napi.h>

// readNetnsSysctl(netnsFd, path, file): the file's text as it is
Napi::Value readNetnsSysctl(const Napi::CallbackInfo &info);
// writeNetnsSysctl(netnsFd, path, file, value)
void writeNetnsSysctl(const Napi::CallbackInfo &info);
