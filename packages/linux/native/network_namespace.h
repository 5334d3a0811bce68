// What a network namespace is known by, and its addresses.
#pragma once

#include <napi.h>

// readNetns(path, withAddresses): { dev, inode, cookie, addresses? }
Napi::Value readNetns(const Napi::CallbackInfo &info);
