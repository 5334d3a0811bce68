// Routes (ip-route(8)) of a network namespace.
#pragma once

#include <napi.h>

// netnsRoutes(netnsFd, path, table):
//   [{ family, type, protocol, scope, destination, prefixLength, table, metric, interface, source?, others }]
Napi::Value netnsRoutes(const Napi::CallbackInfo &info);
// changeRoute(netnsFd, path, add, family, table, type, destination, prefixLength, interface, metric, protocol, source)
// Without interface or source, the empty string stands for it.
void changeRoute(const Napi::CallbackInfo &info);
