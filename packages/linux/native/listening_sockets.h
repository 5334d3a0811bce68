// The listening TCP sockets of another process, as descriptors of this one (pidfd_getfd(2)).
#pragma once

#include <napi.h>

// listeningSockets(pid, pidfd or -1, procPath, ports): one object for each
Napi::Value listeningSockets(const Napi::CallbackInfo &info);
// checkPidfdGetfd(): duplicates a descriptor of this very process, which needs the calls and no privilege
void checkPidfdGetfd(const Napi::CallbackInfo &info);
