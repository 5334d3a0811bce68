// BPF classifiers at a device's clsact hook (tc-bpf(8)) in a network namespace.
#pragma once

#include <napi.h>

// netnsQdiscs(netnsFd, path, interface): [{ kind, handle, parent }]
Napi::Value netnsQdiscs(const Napi::CallbackInfo &info);
// changeClsact(netnsFd, path, interface, add)
void changeClsact(const Napi::CallbackInfo &info);
// netnsTcFilters(netnsFd, path, interface, egress):
//   [{ kind, priority, protocol, handle, chain, programName, programTag, programId, directAction }], heads included
Napi::Value netnsTcFilters(const Napi::CallbackInfo &info);
// changeTcFilter(netnsFd, path, interface, egress, change: 'add'|'replace'|'delete', priority, handle, programFd, name)
void changeTcFilter(const Napi::CallbackInfo &info);
