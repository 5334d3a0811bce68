// What the addon exports. Its one caller is src/native.ts.
#include <napi.h>

#include "file_lock.h"
#include "listening_sockets.h"
#include "mounts.h"
#include "netns_sysctl.h"
#include "network_namespace.h"
#include "new_netns.h"
#include "policy_routes.h"
#include "policy_rules.h"
#include "seqpacket.h"
#include "socket_option.h"
#include "traffic_control.h"

static Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  exports.Set("readNetns", Napi::Function::New<readNetns>(env, "readNetns"));
  exports.Set("getSockOpt", Napi::Function::New<getSockOpt>(env, "getSockOpt"));
  exports.Set("setSockOptInt", Napi::Function::New<setSockOptInt>(env, "setSockOptInt"));
  exports.Set("mount", Napi::Function::New<mountFileSystem>(env, "mount"));
  exports.Set("unmount", Napi::Function::New<unmountFileSystem>(env, "unmount"));
  exports.Set("FileLock", FileLock::define(env));
  OwnedFd::define(env);
  exports.Set("SeqpacketSockets", SeqpacketSockets::define(env));
  exports.Set("listeningSockets", Napi::Function::New<listeningSockets>(env, "listeningSockets"));
  exports.Set("checkPidfdGetfd", Napi::Function::New<checkPidfdGetfd>(env, "checkPidfdGetfd"));
  exports.Set("newNetns", Napi::Function::New<newNetns>(env, "newNetns"));
  exports.Set("netnsRules", Napi::Function::New<netnsRules>(env, "netnsRules"));
  exports.Set("changeRule", Napi::Function::New<changeRule>(env, "changeRule"));
  exports.Set("netnsRoutes", Napi::Function::New<netnsRoutes>(env, "netnsRoutes"));
  exports.Set("changeRoute", Napi::Function::New<changeRoute>(env, "changeRoute"));
  exports.Set("netnsQdiscs", Napi::Function::New<netnsQdiscs>(env, "netnsQdiscs"));
  exports.Set("changeClsact", Napi::Function::New<changeClsact>(env, "changeClsact"));
  exports.Set("netnsTcFilters", Napi::Function::New<netnsTcFilters>(env, "netnsTcFilters"));
  exports.Set("changeTcFilter", Napi::Function::New<changeTcFilter>(env, "changeTcFilter"));
  exports.Set("readNetnsSysctl", Napi::Function::New<readNetnsSysctl>(env, "readNetnsSysctl"));
  exports.Set("writeNetnsSysctl", Napi::Function::New<writeNetnsSysctl>(env, "writeNetnsSysctl"));
  return exports;
}

NODE_API_MODULE(linux_calls, initialise)
