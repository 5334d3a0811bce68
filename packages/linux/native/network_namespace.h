// Work inside another network namespace.
#pragma once

#include <napi.h>

// readNetns(path, withAddresses): { dev, inode, cookie, addresses? }
Napi::Value readNetns(const Napi::CallbackInfo &info);
