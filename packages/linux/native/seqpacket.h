// Seqpacket sockets for JavaScript: one SeqpacketSockets object holds those of an environment, each known by a number.
#pragma once

#include <memory>

#include <napi.h>

#include "environment_loop.h"
#include "native/descriptor.h"
#include "native/javascript_error.h"
#include "seqpacket_loop.h"

// A file descriptor that JavaScript owns: closed once, by close() or by the garbage collector.
class OwnedFd : public Napi::ObjectWrap<OwnedFd> {
public:
  static Napi::Function define(Napi::Env env);
  explicit OwnedFd(const Napi::CallbackInfo &info);
  // A new object for a descriptor. JavaScript cannot call the constructor: a number owns nothing.
  static Napi::Object wrap(Napi::Env env, Descriptor owned);

private:
  Napi::Value fd(const Napi::CallbackInfo &info);
  void close(const Napi::CallbackInfo &info);
  Descriptor owned_;
};

// new SeqpacketSockets((completions: object[]) => void)
class SeqpacketSockets : public Napi::ObjectWrap<SeqpacketSockets> {
public:
  static Napi::Function define(Napi::Env env);
  explicit SeqpacketSockets(const Napi::CallbackInfo &info);

private:
  template <auto method> auto guardedMethod(const Napi::CallbackInfo &info) {
    return guarded(info.Env(), [&] { return (this->*method)(info); });
  }
  Napi::Value listen(const Napi::CallbackInfo &info);
  Napi::Value connect(const Napi::CallbackInfo &info);
  void accept(const Napi::CallbackInfo &info);
  void receive(const Napi::CallbackInfo &info);
  Napi::Value send(const Napi::CallbackInfo &info);
  Napi::Value readable(const Napi::CallbackInfo &info);
  void endSending(const Napi::CallbackInfo &info);
  void close(const Napi::CallbackInfo &info);
  void keepAlive(const Napi::CallbackInfo &info);
  SeqpacketLoop &loop();

  static void deliver(Napi::Env env, Napi::Function callback, SeqpacketLoop &loop);
  std::unique_ptr<EnvironmentLoop<SeqpacketLoop, &SeqpacketSockets::deliver>> loop_;
};
