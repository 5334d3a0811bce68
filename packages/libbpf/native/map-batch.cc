// Batch operations on maps. Each returns how far it came beside the errno that stopped it (0 = none): a batch is not
// atomic, and the caller has to know what was done.
#include "arguments.h"
#include "modules.h"
#include "native/javascript_error.h"

#include <bpf/bpf.h>
#include <cerrno>
#include <cstring>

namespace sluice {
namespace {

// The kernel's batch cursor of a hash is a u32 bucket number, whatever the key size; of other maps it is a key.
constexpr size_t kSmallestCursor = sizeof(uint32_t);

Napi::Object Outcome(Napi::Env env, uint32_t done, int err) {
  Napi::Object row = Napi::Object::New(env);
  row.Set("done", done);
  row.Set("errno", err);
  if (err != 0)
    row.Set("code", errnoName(err));
  return row;
}

// How many elements an update or a delete did. A call that is refused as a whole leaves the count as it was asked for,
// which no failed batch can have done; after EFAULT the count means nothing.
uint32_t Done(uint32_t asked, uint32_t count, int err) {
  if (err == 0)
    return count;
  return err == EFAULT || count >= asked ? 0 : count;
}

// mapLookupBatch(fd, cursor | undefined, keySize, valueBytes, count) -> { done, errno, code?, keys, values, cursor }
// errno ENOENT = the map's end was reached, with `done` elements still good.
Napi::Value LookupBatch(const Napi::CallbackInfo &info) {
  Napi::Env env = info.Env();
  uint32_t key_size = UintArgument(info, 2), value_bytes = UintArgument(info, 3), count = UintArgument(info, 4);
  size_t cursor_size = key_size > kSmallestCursor ? key_size : kSmallestCursor;
  void *in = IsGiven(info, 1) ? SizedBytesArgument(info, 1, cursor_size).data : nullptr;
  auto keys = Napi::Buffer<uint8_t>::New(env, static_cast<size_t>(key_size) * count);
  auto values = Napi::Buffer<uint8_t>::New(env, static_cast<size_t>(value_bytes) * count);
  auto out = Napi::Buffer<uint8_t>::New(env, cursor_size);
  memset(out.Data(), 0, cursor_size);
  LIBBPF_OPTS(bpf_map_batch_opts, options);
  int result = bpf_map_lookup_batch(IntArgument(info, 0), in, out.Data(), keys.Data(), values.Data(), &count, &options);
  int err = result == 0 ? 0 : errno;
  Napi::Object row = Outcome(env, err == 0 || err == ENOENT ? count : 0, err);
  row.Set("keys", keys);
  row.Set("values", values);
  row.Set("cursor", out);
  return row;
}

// mapUpdateBatch(fd, keys, keySize, values, valueBytes, count, flags) -> { done, errno, code? }
Napi::Value UpdateBatch(const Napi::CallbackInfo &info) {
  uint32_t asked = UintArgument(info, 5), count = asked;
  Bytes keys = SizedBytesArgument(info, 1, static_cast<size_t>(UintArgument(info, 2)) * count);
  Bytes values = SizedBytesArgument(info, 3, static_cast<size_t>(UintArgument(info, 4)) * count);
  LIBBPF_OPTS(bpf_map_batch_opts, options);
  options.elem_flags = UintArgument(info, 6);
  int result = bpf_map_update_batch(IntArgument(info, 0), keys.data, values.data, &count, &options);
  int err = result == 0 ? 0 : errno;
  return Outcome(info.Env(), Done(asked, count, err), err);
}

// mapDeleteBatch(fd, keys, keySize, count) -> { done, errno, code? }; ENOENT stops it at the first key that is absent.
Napi::Value DeleteBatch(const Napi::CallbackInfo &info) {
  uint32_t asked = UintArgument(info, 3), count = asked;
  Bytes keys = SizedBytesArgument(info, 1, static_cast<size_t>(UintArgument(info, 2)) * count);
  LIBBPF_OPTS(bpf_map_batch_opts, options);
  int result = bpf_map_delete_batch(IntArgument(info, 0), keys.data, &count, &options);
  int err = result == 0 ? 0 : errno;
  return Outcome(info.Env(), Done(asked, count, err), err);
}

} // namespace

void AddMapBatches(Napi::Env env, Napi::Object exports) {
  exports.Set("mapLookupBatch", Napi::Function::New<LookupBatch>(env, "mapLookupBatch"));
  exports.Set("mapUpdateBatch", Napi::Function::New<UpdateBatch>(env, "mapUpdateBatch"));
  exports.Set("mapDeleteBatch", Napi::Function::New<DeleteBatch>(env, "mapDeleteBatch"));
}

} // namespace sluice
