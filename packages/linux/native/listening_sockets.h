// The listening TCP sockets of another process, as descriptors of this one (pidfd_getfd(2)).
#pragma once

#include <napi.h>

// listeningSockets(pid, pidfd or -1, procPath, ports): one object for each
Napi::Value listeningSockets(const Napi::CallbackInfo &info);
