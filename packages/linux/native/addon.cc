// What the addon exports. Only src/native.ts uses it.
#include <napi.h>

#include "file_lock.h"
#include "listening_sockets.h"
#include "lock_wait.h"
#include "native/javascript_error.h"
#include "netns_sysctl.h"
#include "netns_watches.h"
#include "network_devices.h"
#include "network_namespace.h"
#include "policy_routes.h"
#include "policy_rules.h"
#include "seqpacket.h"
#include "silent_listener.h"
#include "socket_option.h"
#include "traffic_control.h"

template <auto function> static void add(Napi::Object exports, const char *name) {
  exports.Set(name, Napi::Function::New<guarded<function>>(exports.Env(), name));
}

static Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  add<openNetns>(exports, "openNetns");
  add<newNetns>(exports, "newNetns");
  add<netnsAddresses>(exports, "netnsAddresses");
  add<netnsDevices>(exports, "netnsDevices");
  add<netnsOwner>(exports, "netnsOwner");
  add<getSockOpt>(exports, "getSockOpt");
  add<setSockOptInt>(exports, "setSockOptInt");
  exports.Set("FileLock", FileLock::define(env));
  exports.Set("LockWait", LockWait::define(env));
  OwnedFd::define(env);
  exports.Set("SeqpacketSockets", SeqpacketSockets::define(env));
  exports.Set("NetnsWatches", NetnsWatches::define(env));
  add<listeningSockets>(exports, "listeningSockets");
  add<checkPidfdGetfd>(exports, "checkPidfdGetfd");
  add<silentListener>(exports, "silentListener");
  add<jiffyMicroseconds>(exports, "jiffyMicroseconds");
  add<netnsRules>(exports, "netnsRules");
  add<changeRule>(exports, "changeRule");
  add<netnsRoutes>(exports, "netnsRoutes");
  add<changeRoute>(exports, "changeRoute");
  add<netnsQdiscs>(exports, "netnsQdiscs");
  add<deleteClsact>(exports, "deleteClsact");
  add<netnsTcFilters>(exports, "netnsTcFilters");
  add<deleteTcFilter>(exports, "deleteTcFilter");
  add<readNetnsSysctl>(exports, "readNetnsSysctl");
  add<writeNetnsSysctl>(exports, "writeNetnsSysctl");
  return exports;
}

NODE_API_MODULE(linux_calls, initialise)
