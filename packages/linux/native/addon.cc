// What the addon exports. Its one caller is src/native.ts.
#include <napi.h>

#include "file_lock.h"
#include "mounts.h"
#include "network_namespace.h"
#include "seqpacket.h"
#include "socket_option.h"

static Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  exports.Set("readNetns", Napi::Function::New<readNetns>(env, "readNetns"));
  exports.Set("getSockOpt", Napi::Function::New<getSockOpt>(env, "getSockOpt"));
  exports.Set("setSockOptInt", Napi::Function::New<setSockOptInt>(env, "setSockOptInt"));
  exports.Set("mount", Napi::Function::New<mountFileSystem>(env, "mount"));
  exports.Set("unmount", Napi::Function::New<unmountFileSystem>(env, "unmount"));
  exports.Set("FileLock", FileLock::define(env));
  OwnedFd::define(env);
  exports.Set("SeqpacketSockets", SeqpacketSockets::define(env));
  return exports;
}

NODE_API_MODULE(linux_calls, initialise)
