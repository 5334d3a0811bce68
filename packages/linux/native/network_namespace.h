// Network namespaces, and questions that are asked inside one.
#pragma once

#include <napi.h>

// openNetns(path): { owned: OwnedFd, dev, inode, cookie }
Napi::Value openNetns(const Napi::CallbackInfo &info);
// newNetns(): the same for a new one, with its loopback up
Napi::Value newNetns(const Napi::CallbackInfo &info);
// netnsAddresses(netnsFd, netnsPath): object[]
Napi::Value netnsAddresses(const Napi::CallbackInfo &info);
// netnsOwner(netnsFd, netnsPath): { dev, inode, parentDev?, parentInode? }, the user namespace that owns it, and that
// one's parent
Napi::Value netnsOwner(const Napi::CallbackInfo &info);
