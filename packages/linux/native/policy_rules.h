// Policy rules (ip-rule(8)) of a network namespace.
#pragma once

#include <napi.h>

// netnsRules(netnsFd, path): [{ family, priority, table, mark, mask, protocol, action, others }], in the kernel's order
Napi::Value netnsRules(const Napi::CallbackInfo &info);
// changeRule(netnsFd, path, add, family, priority, table, mark, mask, protocol, action)
void changeRule(const Napi::CallbackInfo &info);
