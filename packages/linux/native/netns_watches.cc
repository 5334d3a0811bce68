// Converts arguments and changes; netns_watch_loop.cc does the work.
#include "netns_watches.h"

#include <climits>

#include "arguments.h"

Napi::Function NetnsWatches::define(Napi::Env env) {
  using Self = NetnsWatches;
  return DefineClass(env, "NetnsWatches",
                     {InstanceMethod<&Self::guardedMethod<&Self::open>>("open"),
                      InstanceMethod<&Self::guardedMethod<&Self::close>>("close")});
}

NetnsWatches::NetnsWatches(const Napi::CallbackInfo &info) : Napi::ObjectWrap<NetnsWatches>(info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsFunction())
    throw Napi::TypeError::New(env, "the callback must be a function");
  loop_ = guarded(env, [&] {
    return std::make_unique<EnvironmentLoop<NetnsWatchLoop, &deliver>>(env, info[0].As<Napi::Function>(),
                                                                       "netns-watch");
  });
}

// open(netnsFd, path): watch
Napi::Value NetnsWatches::open(const Napi::CallbackInfo &info) {
  const int netns = static_cast<int>(integerArgument(info, 0, "netnsFd", 0, INT_MAX));
  const std::string path = textArgument(info, 1, "netnsPath");
  if (loop_->get() == nullptr)
    throw Failure{"epoll_wait", ESHUTDOWN, "watches of an environment that is ending"};
  return Napi::Number::New(info.Env(), loop_->get()->add(netns, path));
}

// close(watch)
void NetnsWatches::close(const Napi::CallbackInfo &info) {
  const auto watch = static_cast<WatchId>(integerArgument(info, 0, "watch", 1, UINT32_MAX));
  if (loop_->get() != nullptr)
    loop_->get()->close(watch);
}

void NetnsWatches::deliver(Napi::Env env, Napi::Function callback, NetnsWatchLoop &loop) {
  const std::vector<NetnsChanges> all = loop.take();
  if (all.empty())
    return;
  Napi::Array batch = Napi::Array::New(env, all.size());
  for (size_t i = 0; i < all.size(); i++) {
    Napi::Object changes = Napi::Object::New(env);
    changes.Set("watch", Napi::Number::New(env, all[i].watch));
    changes.Set("rules", Napi::Boolean::New(env, all[i].rules));
    changes.Set("routes", Napi::Boolean::New(env, all[i].routes));
    changes.Set("addresses", Napi::Boolean::New(env, all[i].addresses));
    changes.Set("devices", Napi::Boolean::New(env, all[i].devices));
    changes.Set("lost", Napi::Boolean::New(env, all[i].lost));
    batch.Set(static_cast<uint32_t>(i), changes);
  }
  callback.Call({batch});
}
