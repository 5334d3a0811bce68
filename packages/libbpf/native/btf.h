// BTF as plain JavaScript values.
#pragma once

#include <napi.h>

struct btf;

namespace sluice {

// One object per type, indexed by type id (0 = void). The shapes are the BtfType of src/btf.ts. A null btf gives an
// empty array.
Napi::Array BtfToArray(Napi::Env env, const struct btf *btf);

} // namespace sluice
