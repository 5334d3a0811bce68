// Watches of network namespaces for JavaScript: one NetnsWatches object has those of an environment, each known by a
// number.
#pragma once

#include <memory>

#include <napi.h>

#include "environment_loop.h"
#include "native/javascript_error.h"
#include "netns_watch_loop.h"

// new NetnsWatches((changes: { watch, rules, routes, addresses, devices, lost }[]) => void). Keeps no process alive.
class NetnsWatches : public Napi::ObjectWrap<NetnsWatches> {
public:
  static Napi::Function define(Napi::Env env);
  explicit NetnsWatches(const Napi::CallbackInfo &info);

private:
  template <auto method> auto guardedMethod(const Napi::CallbackInfo &info) {
    return guarded(info.Env(), [&] { return (this->*method)(info); });
  }
  Napi::Value open(const Napi::CallbackInfo &info);
  void close(const Napi::CallbackInfo &info);

  static void deliver(Napi::Env env, Napi::Function callback, NetnsWatchLoop &loop);
  std::unique_ptr<EnvironmentLoop<NetnsWatchLoop, &NetnsWatches::deliver>> loop_;
};
