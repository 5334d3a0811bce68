// An exclusive advisory lock on a file, held until it is closed, collected, or the process ends in any way.
#pragma once

#include <string>

#include <napi.h>

#include "native/descriptor.h"

// Made if absent, and never removed: otherwise two processes could hold "the" lock on two files. Throws Failure.
Descriptor openLockFile(const std::string &path);

class FileLock : public Napi::ObjectWrap<FileLock> {
public:
  static Napi::Function define(Napi::Env env);
  explicit FileLock(const Napi::CallbackInfo &info);

private:
  Napi::Value held(const Napi::CallbackInfo &info);
  void close(const Napi::CallbackInfo &info);
  // Closing it drops the lock; the destructor, run by the garbage collector, does so too.
  Descriptor file_;
};
