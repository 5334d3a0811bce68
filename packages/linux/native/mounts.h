// mount(2) and umount2(2) in the process's mount namespace.
#pragma once

#include <napi.h>

// mount(source, target, fsType, flags, data)
void mountFileSystem(const Napi::CallbackInfo &info);
// unmount(target, flags)
void unmountFileSystem(const Napi::CallbackInfo &info);
