// Batch operations on maps. Each returns how far it came and the errno that stopped it (0 = none): a batch is not
// atomic, and the caller has to know what was done.
#include "arguments.h"
#include "modules.h"
#include "native/javascript_error.h"

#include <bpf/bpf.h>
#include <cerrno>
#include <cstring>

namespace {

// The kernel's batch cursor of a hash is a u32 bucket number, whatever the key size; of other maps it is a key.
constexpr size_t smallestCursor = sizeof(uint32_t);

Napi::Object outcome(Napi::Env env, uint32_t done, int err) {
  Napi::Object row = Napi::Object::New(env);
  row.Set("done", done);
  row.Set("errno", err);
  if (err != 0)
    row.Set("code", errnoName(err));
  return row;
}

// How many elements an update or a delete has done. A call that is refused as a whole leaves the count as it was passed
// in, and no failed batch can have done so many; after EFAULT the count means nothing.
uint32_t done(uint32_t asked, uint32_t count, int err) {
  if (err == 0)
    return count;
  return err == EFAULT || count >= asked ? 0 : count;
}

// mapLookupBatch(fd, cursor | undefined, keySize, valueBytes, count) -> { done, errno, code?, keys, values, cursor }
// errno ENOENT = the map's end was reached, with `done` elements still good.
Napi::Value lookupBatch(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  uint32_t keySize = uintArgument(info, 2), valueBytes = uintArgument(info, 3), count = uintArgument(info, 4);
  size_t cursorSize = keySize > smallestCursor ? keySize : smallestCursor;
  void *in = isGiven(info, 1) ? sizedBytesArgument(info, 1, cursorSize).data : nullptr;
  auto keys = Napi::Buffer<uint8_t>::New(env, static_cast<size_t>(keySize) * count);
  auto values = Napi::Buffer<uint8_t>::New(env, static_cast<size_t>(valueBytes) * count);
  auto out = Napi::Buffer<uint8_t>::New(env, cursorSize);
  memset(out.Data(), 0, cursorSize);
  LIBBPF_OPTS(bpf_map_batch_opts, options);
  int result = bpf_map_lookup_batch(intArgument(info, 0), in, out.Data(), keys.Data(), values.Data(), &count, &options);
  int err = result == 0 ? 0 : errno;
  Napi::Object row = outcome(env, err == 0 || err == ENOENT ? count : 0, err);
  row.Set("keys", keys);
  row.Set("values", values);
  row.Set("cursor", out);
  return row;
}

// mapUpdateBatch(fd, keys, keySize, values, valueBytes, count, flags) -> { done, errno, code? }
Napi::Value updateBatch(const Napi::CallbackInfo &info) {
  uint32_t asked = uintArgument(info, 5), count = asked;
  Bytes keys = sizedBytesArgument(info, 1, static_cast<size_t>(uintArgument(info, 2)) * count);
  Bytes values = sizedBytesArgument(info, 3, static_cast<size_t>(uintArgument(info, 4)) * count);
  LIBBPF_OPTS(bpf_map_batch_opts, options);
  options.elem_flags = uintArgument(info, 6);
  int result = bpf_map_update_batch(intArgument(info, 0), keys.data, values.data, &count, &options);
  int err = result == 0 ? 0 : errno;
  return outcome(info.Env(), done(asked, count, err), err);
}

} // namespace

void addMapBatches(Napi::Env env, Napi::Object exports) {
  exports.Set("mapLookupBatch", Napi::Function::New<lookupBatch>(env, "mapLookupBatch"));
  exports.Set("mapUpdateBatch", Napi::Function::New<updateBatch>(env, "mapUpdateBatch"));
}
