#include "lock_wait.h"

#include <cerrno>
#include <mutex>
#include <sys/file.h>
#include <thread>

#include "arguments.h"
#include "file_lock.h"

struct LockWait::Wait {
  std::mutex mutex;
  Descriptor file;
  // Nobody wants the lock any more: the thread drops it as soon as it has it.
  bool isGivenUp = false;
  bool isHeld = false;
  // Of the environment's thread only.
  bool hasCalledBack = false;
  Napi::ThreadSafeFunction callBack;
};

Napi::Function LockWait::define(Napi::Env env) {
  return DefineClass(env, "LockWait",
                     {InstanceAccessor<&LockWait::held>("held"), InstanceMethod<&LockWait::close>("close")});
}

LockWait::LockWait(const Napi::CallbackInfo &info) : Napi::ObjectWrap<LockWait>(info) {
  auto wait = std::make_shared<Wait>();
  wait->file = guarded(info.Env(), [&] { return openLockFile(textArgument(info, 0, "path")); });
  wait->callBack =
      Napi::ThreadSafeFunction::New(info.Env(), info[1].As<Napi::Function>(), "sluice: wait for a lock", 0, 1);
  wait_ = wait;
  // Detached: nothing wakes flock(2) but the lock or the end of the process.
  std::thread([wait] {
    int result;
    do
      result = flock(wait->file.get(), LOCK_EX);
    while (result < 0 && errno == EINTR);
    {
      const std::lock_guard<std::mutex> guard(wait->mutex);
      wait->isHeld = result == 0 && !wait->isGivenUp;
      if (!wait->isHeld)
        wait->file.reset();
    }
    wait->callBack.NonBlockingCall([wait](Napi::Env env, Napi::Function callback) {
      wait->hasCalledBack = true;
      if (env != nullptr && !wait->isGivenUp)
        callback.Call({});
    });
    wait->callBack.Release();
  }).detach();
}

LockWait::~LockWait() {
  giveUp();
}

Napi::Value LockWait::held(const Napi::CallbackInfo &info) {
  const std::lock_guard<std::mutex> guard(wait_->mutex);
  return Napi::Boolean::New(info.Env(), wait_->isHeld);
}

void LockWait::close(const Napi::CallbackInfo &info) {
  giveUp();
  // What waits does not keep the process alive any more.
  if (!wait_->hasCalledBack)
    wait_->callBack.Unref(info.Env());
}

void LockWait::giveUp() {
  const std::lock_guard<std::mutex> guard(wait_->mutex);
  wait_->isGivenUp = true;
  if (wait_->isHeld)
    wait_->file.reset();
  wait_->isHeld = false;
}
