// BTF as plain JavaScript values.
#pragma once

#include <napi.h>

struct btf;

// One object per type, indexed by type id (0 = void). The shapes are the BtfType of src/btf.ts. A null btf gives an
// empty array.
Napi::Array btfToArray(Napi::Env env, const struct btf *btf);
