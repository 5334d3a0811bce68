// A loop with a thread of its own that works for one JavaScript environment: it wakes the environment's thread when it
// has something for it, and it is gone before the environment is.
#pragma once

#include <memory>

#include <napi.h>

#include "native/failure.h"

// `Loop` is made with a function that wakes, which it calls on any thread; `deliver` then runs on the environment's.
template <typename Loop, void (*deliver)(Napi::Env, Napi::Function, Loop &)> class EnvironmentLoop {
public:
  // Does not keep the process alive, until keepAlive() says otherwise. Throws Failure.
  EnvironmentLoop(Napi::Env env, Napi::Function callback, const char *name) : env_(env) {
    // A queue of one is enough: a loop asks for a wake only when none is under way.
    wake_ = Wake::New(
        env, callback, name, 1, 1, new std::shared_ptr<Channel>(channel_),
        [](Napi::Env, void *, std::shared_ptr<Channel> *context) { delete context; }, static_cast<void *>(nullptr));
    wake_.Unref(env);
    try {
      channel_->loop = std::make_unique<Loop>([wake = wake_]() mutable { wake.NonBlockingCall(); });
    } catch (const Failure &) {
      wake_.Release();
      throw;
    }
    // Runs before the thread-safe function's own hook (last in, first out), so that the thread is gone before it is.
    napi_add_env_cleanup_hook(env, &EnvironmentLoop::atExit, this);
    hooked_ = true;
  }
  ~EnvironmentLoop() { shut(); }
  EnvironmentLoop(const EnvironmentLoop &) = delete;
  EnvironmentLoop &operator=(const EnvironmentLoop &) = delete;

  // Null once the environment goes down.
  Loop *get() const { return channel_->loop.get(); }

  // Whether the process stays alive for what the loop may deliver.
  void keepAlive(Napi::Env env, bool keep) {
    if (get() == nullptr)
      return;
    if (keep)
      wake_.Ref(env);
    else
      wake_.Unref(env);
  }

private:
  // What a wake needs. It lives until the last wake is over.
  struct Channel {
    std::unique_ptr<Loop> loop;
  };
  static void onWake(Napi::Env env, Napi::Function callback, std::shared_ptr<Channel> *channel, void *) {
    // A null env means that the environment is going down.
    if (env == nullptr || (*channel)->loop == nullptr)
      return;
    try {
      deliver(env, callback, *(*channel)->loop);
    } catch (const Napi::Error &error) {
      // An empty error means that the environment is being terminated.
      if (!error.IsEmpty())
        napi_fatal_exception(env, error.Value());
    }
  }
  using Wake = Napi::TypedThreadSafeFunction<std::shared_ptr<Channel>, void, &EnvironmentLoop::onWake>;

  static void atExit(void *self) {
    auto *one = static_cast<EnvironmentLoop *>(self);
    one->hooked_ = false;
    one->shut();
  }

  void shut() {
    if (get() == nullptr)
      return;
    if (hooked_)
      napi_remove_env_cleanup_hook(env_, &EnvironmentLoop::atExit, this);
    hooked_ = false;
    channel_->loop.reset();
    wake_.Release();
  }

  const napi_env env_;
  std::shared_ptr<Channel> channel_ = std::make_shared<Channel>();
  Wake wake_;
  bool hooked_ = false;
};
