// BPF classifiers at a device's clsact hook (tc-bpf(8)) in a network namespace.
#pragma once

#include <napi.h>

// netnsQdiscs(netnsFd, path, interface): [{ kind, handle, parent }]
Napi::Value netnsQdiscs(const Napi::CallbackInfo &info);
// deleteClsact(netnsFd, path, interface)
void deleteClsact(const Napi::CallbackInfo &info);
// netnsTcFilters(netnsFd, path, interface, egress):
//   [{ kind, priority, protocol, handle, chain, programName, programTag, programId, directAction }], heads included
Napi::Value netnsTcFilters(const Napi::CallbackInfo &info);
// deleteTcFilter(netnsFd, path, interface, egress, priority, handle)
void deleteTcFilter(const Napi::CallbackInfo &info);
