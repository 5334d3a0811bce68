// A lock that is waited for: flock(2) blocks on a thread of its own.
#pragma once

#include <memory>

#include <napi.h>

#include "native/descriptor.h"

// new LockWait(path, callback): calls back once, when this process has the lock or the call has failed. `held` says
// which.
class LockWait : public Napi::ObjectWrap<LockWait> {
public:
  static Napi::Function define(Napi::Env env);
  explicit LockWait(const Napi::CallbackInfo &info);
  ~LockWait() override;

private:
  struct Wait;
  Napi::Value held(const Napi::CallbackInfo &info);
  void close(const Napi::CallbackInfo &info);
  void giveUp();
  // Shared with the thread, which may still be blocked when this object is gone.
  std::shared_ptr<Wait> wait_;
};
